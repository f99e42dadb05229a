"""What Prometheus is told, against what happened and what the documentation says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mull.errors import EngineUnavailable, InvalidRequest
from mull.server.counting import shape_of
from mull.server.metrics import Metrics, Values
from mull.trace import Trace

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

PAGE = Path(__file__).parents[2] / "docs/metrics.md"


def samples(live: Live) -> dict[str, float]:
    """All of mull's own samples, as `name{label=value,...}` without the labels `model` and `strategy`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(live.http.get("/metrics").text):
        for sample in family.samples:
            if sample.name.startswith("mull_"):
                labels = {k: v for k, v in sample.labels.items() if k not in ("model", "strategy")}
                key = sample.name + (
                    ""
                    if not labels
                    else str(dict(sorted(labels.items()))).replace("'", "").replace(": ", "=")
                )
                found[key] = found.get(key, 0) + sample.value
    return found


def test_the_page_lists_the_metrics_that_there_are(start: Start) -> None:
    listed = re.findall(r"^\| `(mull_\w+)` \| (\w+) \| ([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    with start() as live:
        assert live.post(model="mull-tiny+best_of_n").status_code == 200
        text = live.http.get("/metrics").text
    types = dict(re.findall(r"^# TYPE (mull_\w+) (\w+)$", text, re.MULTILINE))
    there = {name: kind for name, kind in types.items() if not name.endswith("_created")}
    assert {name: kind for name, kind, _ in listed} == there
    # The labels are those of the samples, where there are samples.
    labels = {name: set(re.findall(r"`(\w+)`", cell)) for name, _, cell in listed}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if (name := re.sub(r"_(bucket|sum|count|created)$", "", sample.name)) in labels:
                assert sample.labels.keys() - {"le"} == labels[name], name


def test_a_search_is_measured(start: Start) -> None:
    with start() as live:
        done = live.post(model="mull-tiny+beam_search", ttc={"width": 2, "expand": 2}).json()
        found = samples(live)
    assert done["ttc"]["verifier"] == "prm"
    calls = done["ttc"]["verifier_calls"]
    assert found["mull_verifier_calls_total{verifier=prm}"] == calls
    assert found["mull_verifier_batch_size_count{verifier=prm}"] == calls
    scored = found["mull_verifier_batch_size_sum{verifier=prm}"]
    assert scored == found["mull_score_count{verifier=prm}"] > calls
    assert found["mull_confidence_sum"] == pytest.approx(done["ttc"]["confidence"])
    assert found["mull_search_depth_sum"] == 2  # two lines an answer
    assert found["mull_search_width_sum"] >= 2
    assert found["mull_engine_up"] == 1
    spent = done["usage"]["completion_tokens"]
    kept = found["mull_tokens_total{part=answer}"]
    assert kept + found["mull_tokens_total{part=hidden}"] == spent


def test_what_was_for_nothing_is_counted(start: Start) -> None:
    with start() as live:
        stopped = live.post(ttc={"strategy": "majority_vote", "n": 5, "budget": {"samples": 3}})
        assert stopped.json()["ttc"]["stopped"] == "samples"
        live.script.fail, live.script.fail_after_turns = EngineUnavailable("gone"), 3
        assert live.post(ttc={"strategy": "beam_search", "width": 2, "expand": 2}).status_code == 503
        found = samples(live)
    assert found["mull_budget_exhausted_total{limit=samples}"] == 1
    assert found["mull_stops_total{reason=samples}"] == 1
    assert found["mull_wasted_tokens_total{reason=unanswered}"] > 0
    assert found["mull_errors_total{code=engine_unavailable, status=503}"] == 1


def test_errors_are_counted_by_code(start: Start) -> None:
    with start(down=["orm"]) as live:
        assert live.post(n="many").status_code == 400
        assert live.post(model="other").status_code == 404
        assert live.http.get("/v1/nowhere").status_code == 404
        assert live.post(model="mull-tiny+best_of_n").status_code == 503
        live.script.fail, live.script.fail_after_turns = RuntimeError("a bug"), 0
        assert live.post().status_code == 500
        found = samples(live)
    counted = {key: value for key, value in found.items() if key.startswith("mull_errors_total")}
    assert sum(counted.values()) == 5
    for status, code in (
        (400, "invalid_type"),
        (404, "model_not_found"),
        (404, "not_found"),
        (503, "verifier_unavailable"),
        (500, "internal_error"),
    ):
        (value,) = [v for k, v in counted.items() if f"status={status}" in k and f"code={code}" in k]
        assert value == 1
    assert found["mull_verifier_errors_total{verifier=orm}"] == 1


def test_streams_tell_when_their_first_text_came(start: Start) -> None:
    with start() as live:
        live.post()
        assert "mull_first_token_seconds_count" not in samples(live)
        assert "[DONE]" in live.post(stream=True).text
        assert samples(live)["mull_first_token_seconds_count"] == 1
        # An error in mid-stream is no answer, and an error.
        live.script.fail, live.script.fail_after_turns = EngineUnavailable("gone"), 1
        assert "engine_unavailable" in live.post(stream=True).text
        found = samples(live)
    assert sum(value for key, value in found.items() if key.startswith("mull_errors_total{")) == 1


def test_a_label_takes_only_so_many_values() -> None:
    values = Values(most=2)
    assert [values(each) for each in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]
    metrics = Metrics()
    for number in range(1000):
        metrics.fail(InvalidRequest("no", code=f"upstream_{number}"))
    assert metrics.render().decode().count("mull_errors_total{") < 100


def test_the_shape_of_a_search() -> None:
    trace = Trace()
    assert shape_of(trace.nodes) is None

    def add(parent: int, *, generated: bool = True) -> int:
        finish = "stop" if generated else None
        return trace.add(parent=parent, kind="x", text="", started=0.0, tokens=1, finish=finish)  # type: ignore[arg-type]

    add(0)
    second = add(0)
    stage = add(second, generated=False)
    for _ in range(3):
        add(stage)
    assert shape_of(trace.nodes) == (2, 3)
