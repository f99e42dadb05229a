from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from mull.server.bench.offered import Offer
from mull.server.bench.outcomes import Log, Outcome, Sample
from mull.server.bench.spec import parse_run
from mull.server.bench.suite import RUNS as RUNS_OF
from mull.server.bench.suite import Selection, suite
from mull.strategies.registry import STRATEGIES

from .conftest import Served, Start

Mull = Callable[..., Result]

RUNS = (
    *("--run", "single:temperature=0", "--run", "majority_vote:n=6"),
    *("--run", "best_of_n:n=6,verifier=orm", "--run", "beam_search:width=2,expand=3"),
)


def report(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "report.json").read_text())
    return loaded


def test_measures_every_run_and_writes_report_table_and_plot(
    served: Served, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = mull(
        "bench", problems, *RUNS, "--out", out, "--candidates", "--temperature", 1, "--url", served.url
    )
    assert result.exit_code == 0, result.output
    found = report(out)
    greedy, vote, best, beam = found["runs"]
    assert found["model"] == "scripted"
    assert found["problems"] == 12
    assert greedy["run"] == "single:temperature=0"
    assert greedy["accuracy"]["value"] == 1.0
    assert best["accuracy"]["value"] == best["at_k"][-1]["passed"]["value"] < 1.0
    assert beam["accuracy"]["value"] > vote["accuracy"]["value"]
    assert greedy["accuracy"]["low"] == pytest.approx(0.7575, abs=1e-4)
    assert {steps: group["problems"] for steps, group in greedy["by_steps"].items()} == {
        "1": 4,
        "2": 4,
        "3": 4,
    }
    assert best["verifier_tokens"]["value"] > 0 == vote["verifier_tokens"]["value"]
    assert best["tokens"]["value"] > 5 * greedy["tokens"]["value"]
    assert beam["engine_calls"]["value"] > greedy["engine_calls"]["value"] == 1
    assert beam["stopped"] == {"complete": 12}
    # With the same seeds both judge the same samples.
    assert [at["passed"] for at in vote["at_k"]] == [at["passed"] for at in best["at_k"]]
    assert [at["k"] for at in best["at_k"]] == [1, 2, 4, 6]
    assert best["at_k"][-1]["best"]["value"] == best["accuracy"]["value"]
    assert vote["at_k"][-1]["best"] is None
    assert vote["at_k"][-1]["majority"]["value"] == pytest.approx(vote["accuracy"]["value"])
    assert beam["at_k"] == []
    assert len(found["comparisons"]) == 6
    first = found["comparisons"][0]
    assert (first["first"], first["second"]) == ("majority_vote:n=6,temperature=1.0", "single:temperature=0")
    assert first["accuracy_difference"]["value"] == pytest.approx(vote["accuracy"]["value"] - 1.0)
    assert result.stdout == (out / "report.md").read_text()
    assert "| `single:temperature=0` | 100.0 [75.8, 100.0] |" in result.stdout
    assert (out / "accuracy-tokens.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "accuracy-tokens.svg").read_text()


def test_a_second_call_only_does_what_is_missing(
    served: Served, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ("--out", out, "--seed", 3, "--concurrency", 2, "--url", served.url)
    assert mull("bench", problems, "--run", "majority_vote:n=3", "--limit", 5, *common).exit_code == 0
    assert served.model.calls == 5
    assert mull("bench", problems, "--run", "majority_vote:n=3", *common).exit_code == 0
    assert served.model.calls == 12
    before = report(out)["runs"]
    # A crash in the middle of a line: that one problem is done again, with the same result.
    log = out / "results.jsonl"
    log.write_text(log.read_text()[:-20])
    assert mull("bench", problems, "--run", "majority_vote:n=3", *common).exit_code == 0
    assert served.model.calls == 13
    after = report(out)["runs"]
    assert after[0]["accuracy"] == before[0]["accuracy"]
    assert after[0]["tokens"] == before[0]["tokens"]
    assert len(log.read_text().splitlines()) == 12
    # Asking for something else starts over.
    assert mull("bench", problems, "--run", "majority_vote:n=3,max_tokens=90", *common).exit_code == 0
    assert served.model.calls == 25


def test_what_was_measured_before_a_failure_is_kept(
    start: Start, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    runs = ("--run", "single", "--run", "best_of_n:n=4")
    with start(down=True) as served:
        stopped = mull("bench", problems, *runs, "--out", tmp_path / "out", "--url", served.url)
    assert stopped.exit_code == 1
    assert "mull: best_of_n:n=4: " in stopped.stderr
    assert "the scripted verifier is gone" in stopped.stderr
    assert len((tmp_path / "out/results.jsonl").read_text().splitlines()) == 12
    assert not (tmp_path / "out/report.json").exists()
    with start() as served:
        resumed = mull("bench", problems, *runs, "--out", tmp_path / "out", "--url", served.url)
        assert served.model.calls == 12
    assert resumed.exit_code == 0, resumed.output


def test_a_fallback_is_no_measurement(start: Start, mull: Mull, problems: Path, tmp_path: Path) -> None:
    with start(down=True, fallback="majority_vote") as served:
        result = mull(
            "bench", problems, "--run", "best_of_n:n=2", "--out", tmp_path / "out", "--url", served.url
        )
    assert result.exit_code == 1
    assert "verifier orm is down and majority_vote answered" in result.stderr


def test_repetitions_use_other_seeds_and_greedy_runs_need_none(
    served: Served, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    runs = ("--run", "single:temperature=0", "--run", "single")
    result = mull("bench", problems, *runs, "--repeat", 3, "--out", tmp_path / "out", "--url", served.url)
    assert result.exit_code == 0, result.output
    greedy, sampled = report(tmp_path / "out")["runs"]
    assert (greedy["repeats"], sampled["repeats"]) == (1, 3)
    assert served.model.calls == 12 + 36
    rows = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    drawn = {row["problem"]: set[str]() for row in rows}
    for row in rows:
        drawn[row["problem"]].add(row["text"])
    assert max(map(len, drawn.values())) > 2


def test_budgets_make_a_run_each_and_are_compared_within(
    served: Served, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    runs = ("--run", "majority_vote:n=4", "--run", "best_of_n:n=4", "--budgets", "40,400", "--max-tokens", 40)
    result = mull("bench", problems, *runs, "--out", tmp_path / "out", "--url", served.url)
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "out")
    assert [run["request"]["ttc"]["budget"] for run in found["runs"]] == [{"tokens": 40}, {"tokens": 400}] * 2
    assert found["runs"][0]["tokens"]["value"] <= 40
    assert "tokens" in found["runs"][0]["stopped"]
    assert [(c["first"][-3:], c["second"][-3:]) for c in found["comparisons"]] == [
        ("=40", "=40"),
        ("400", "400"),
    ]


def test_a_refusal_stops_at_once_and_names_the_run(
    served: Served, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    result = mull("bench", problems, "--run", "best_of_n:m=4", "--out", tmp_path / "out", "--url", served.url)
    assert result.exit_code == 1
    assert "mull: best_of_n:m=4: unknown field 'ttc.m'" in result.stderr
    assert served.model.calls == 0


def test_no_server(mull: Mull, problems: Path, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        result = mull(
            "bench", problems, "--run", "single", "--out", tmp_path / "out", "--url", url, "--model", "m"
        )
    assert result.exit_code == 3
    assert "no server answers at" in result.stderr
    assert "mull serve" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "best_of_n:n"), "not of the form name=value"),
        (("--run", "single", "--run", "single"), "single is asked for twice"),
        (("--run", "single", "--budgets", "many"), "'many' is no number of tokens"),
        (("--run", "single", "--budgets", "0"), "'0' is no number of tokens"),
        ((), "--run"),
        (("--run", "single", "--only", "single"), "only go with --all"),
        (("--run", "single", "--skip", "single"), "only go with --all"),
    ],
)
def test_wrong_usage(
    mull: Mull, problems: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = mull("bench", problems, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_log_refuses_what_it_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"run": "a"}\n')
    with pytest.raises(ValueError, match="line 1 is no result"):
        Log(path)


def test_the_log_gives_back_what_it_was_given(tmp_path: Path) -> None:
    outcome = Outcome(
        run="r",
        problem="p",
        repeat=0,
        correct=True,
        answer="½",
        text="a\n\u2028b",
        finish="stop",
        stopped="complete",
        tokens=5,
        prompt_tokens=9,
        cached_tokens=1,
        verifier_tokens=0,
        engine_calls=1,
        seconds=0.1,
        samples=(Sample(answer=None, correct=False, score=None, tokens=5, complete=False),),
    )
    with Log(tmp_path / "log") as log:
        log.add(outcome)
    with Log(tmp_path / "log") as log:
        assert log.outcomes == {("r", "p", 0): outcome}


def test_all_measures_every_strategy_that_works_here(
    start: Start, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ("bench", problems, "--all", "--temperature", 1, "--limit", 3, "--out", out)
    chosen = ("--only", "single", "--only", "majority_vote", "--only", "beam_search")
    with start() as served:
        result = mull(*common, *chosen, "--url", served.url)
        assert result.exit_code == 0, result.output
        calls = served.model.calls
        assert mull(*common, *chosen, "--skip", "beam_search", "--url", served.url).exit_code == 0
        assert served.model.calls == calls
    found = report(out)
    assert {run["request"]["ttc"]["strategy"] for run in found["runs"]} == {"single", "majority_vote"}
    assert found["skipped"] == {"beam_search": "left out by --skip"}
    assert "- `beam_search`: left out by --skip" in (out / "report.md").read_text()
    rows = [line for line in result.stdout.splitlines() if line.startswith("| `")]
    tokens = [float(row.split("|")[3]) for row in rows[: rows.index(rows[0]) + len(found["runs"])]]
    assert tokens == sorted(tokens)
    assert result.stdout.startswith(
        "scripted on 3 problems of problems.jsonl, seed 0, temperature 1.0\n\n| run |"
    )
    assert "- `beam_search 4×4 pruned`: `beam_search:width=4,expand=4,prune=0.3" in result.stdout
    assert "- `single`: " not in result.stdout


def test_all_says_why_a_strategy_is_not_measured(
    shared: Served, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    common = ("bench", problems, "--all", "--out", tmp_path / "out", "--url", shared.url)
    unknown = mull(*common, "--only", "guess")
    assert unknown.exit_code == 2
    assert "unknown strategy 'guess'; this server has " in unknown.stderr


def test_what_the_server_refuses_of_the_suite_is_left_out_and_told(
    served: Served, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    only = ("--only", "single", "--only", "majority_vote", "--temperature", 0)
    common = ("bench", problems, "--all", *only, "--out", tmp_path / "out", "--limit", 2)
    result = mull(*common, "--url", served.url)
    assert result.exit_code == 1
    assert "mull: majority_vote:n=16: " in result.stderr
    found = report(tmp_path / "out")
    assert {run["request"]["ttc"]["strategy"] for run in found["runs"]} == {"single"}
    assert "temperature" in found["skipped"]["majority_vote:n=16"]
    # What is asked for by itself is not left out in silence.
    result = mull(*common, "--run", "majority_vote:n=3", "--url", served.url)
    assert result.exit_code == 1
    assert "mull: majority_vote:n=3,temperature=0.0: " in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("model", ["here", "here+quick"])
def test_the_suite_is_what_the_server_offers(model: str) -> None:
    offers = {
        offer.name: offer
        for offer in (
            Offer(name="zeta", models=["here"], needs={}, required=[]),
            Offer(name="beam_search", models=["here"], needs={"verifier": "process"}, required=[]),
            Offer(name="rag", models=[], needs={"verifier": None, "retriever": True}, required=[]),
            Offer(
                name="dvts", models=["other"], needs={"verifier": "process", "continues": True}, required=[]
            ),
            Offer(name="examples", models=["here"], needs={}, required=["examples"]),
            Offer(name="alpha", models=["here"], needs={}, required=[]),
        )
    }
    runs, skipped = suite(offers, model, Selection(skip=["alpha"]))
    assert [run.strategy for run in runs] == ["beam_search"] * len(RUNS_OF["beam_search"]) + ["zeta"]
    assert runs[-1].parameters == {}
    assert skipped == {
        "alpha": "left out by --skip",
        "dvts": "does not work with here here: it needs a verifier (process) and an engine that continues a "
        "partial answer",
        "examples": "has no default for examples; give it with --run",
        "rag": "does not work with here here: it needs a retriever",
    }


@pytest.mark.parametrize("name", sorted(RUNS_OF))
def test_the_suites_runs_are_what_their_strategies_take(name: str) -> None:
    runs = [parse_run(text) for text in RUNS_OF[name]]
    assert len({run.label for run in runs}) == len(runs)
    for run in runs:
        assert run.strategy == name
        STRATEGIES.get(name).model_validate(run.parameters, strict=True)
