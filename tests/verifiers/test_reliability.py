"""Figures of probabilities, held against slow definitions; labelled rows; versions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.errors import InvalidRequest
from mull.testing import ScriptedVerifier
from mull.verifiers.config import parse
from mull.verifiers.labelled import fitting, measure, read_labelled
from mull.verifiers.reliability import auc, reliability
from mull.verifiers.version import version_of

SHARE = st.floats(0, 1)
PAIRS = st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=50)
ASK = [{"role": "user", "content": "?"}]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_auc_is_the_chance_that_a_positive_is_above_a_negative(pairs: list[tuple[int, bool]]) -> None:
    above = [(p > n) + (p == n) / 2 for p, one in pairs if one for n, other in pairs if not other]
    found = auc([score for score, _ in pairs], [label for _, label in pairs])
    assert found == (pytest.approx(sum(above) / len(above)) if above else None)


@given(PAIRS)
def test_the_curve_holds_all_predictions(pairs: list[tuple[float, float]]) -> None:
    predicted, labels = [p for p, _ in pairs], [label for _, label in pairs]
    found = reliability(predicted, labels)
    assert sum(part.count for part in found.bins) == found.count == len(pairs)
    assert [part.low for part in found.bins[1:]] == [part.high for part in found.bins[:-1]]
    gaps = 0.0
    for part in found.bins:
        if part.predicted is not None and part.observed is not None:
            assert part.low - 1e-9 <= part.predicted <= part.high + 1e-9
            gaps += part.count * abs(part.predicted - part.observed)
    assert found.ece == pytest.approx(gaps / len(pairs), abs=1e-9)
    assert found.brier == pytest.approx(sum((p - y) ** 2 for p, y in pairs) / len(pairs), abs=1e-9)


def test_true_probabilities_are_calibrated_and_others_are_not() -> None:
    rng = random.Random(1)
    predicted = [rng.random() for _ in range(20_000)]
    labels = [float(rng.random() < p) for p in predicted]
    true, bold = reliability(predicted, labels), reliability([float(p > 0.5) for p in predicted], labels)
    assert true.ece < 0.02 < 0.2 < bold.ece
    assert true.brier < bold.brier
    assert true.auc is not None
    assert true.auc == pytest.approx(5 / 6, abs=0.01)


def test_nothing_cannot_be_compared() -> None:
    for predicted in ([], [0.5]):
        with pytest.raises(ValueError, match="as many predictions"):
            reliability(predicted, [])


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_steps_and_answers_are_measured_by_who_judges_them(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"prompt": ASK, "completions": ["good\n", "bad"], "labels": [1, 0.2], "problem": "p"},
        {"prompt": ASK, "completions": ["bad\n", "good"], "labels": [0, None]},
        {"prompt": ASK, "completions": ["good and\ngood\n"], "labels": [1]},
        {"prompt": ASK, "completion": [{"role": "assistant", "content": "good"}], "label": 1},
        {"prompt": ASK, "completion": [{"role": "assistant", "content": "bad"}], "label": False},
    )
    rows = read_labelled(path)
    assert (len(fitting(rows, "process")), len(fitting(rows, "outcome"))) == (3, 2)

    def judge(text: str, ended: bool) -> float:
        return 0.8 if text.endswith(("good", "good\n")) else 0.3

    steps = await measure(ScriptedVerifier(judge, kind="process"), fitting(rows, "process"))
    # The third row's only step is cut in two by the verifier: it is left out.
    assert (steps.count, steps.positives, steps.auc) == (3, 1, 1)
    assert steps.brier == pytest.approx((0.2**2 + 0.1**2 + 0.3**2) / 3)
    answers = await measure(ScriptedVerifier(judge, kind="outcome"), fitting(rows, "outcome"))
    assert (answers.count, answers.positives, answers.auc) == (2, 1, 1)


def test_missing_rows_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no such file"):
        read_labelled(tmp_path / "none.jsonl")
    with pytest.raises(InvalidRequest, match=r"rows\.jsonl:2: .*must be a string"):
        read_labelled(
            write(
                tmp_path / "rows.jsonl",
                {"prompt": ASK, "completions": ["a"], "labels": [1]},
                {"prompt": ASK, "completion": [{"role": "assistant", "content": None}], "label": 1},
            )
        )


def test_a_version_is_that_of_weights_and_settings(tmp_path: Path) -> None:
    versions = []
    for name, weights, config, temperature in (
        ("a", b"1", "{}", 1),
        ("b", b"1", "{}", 1),
        ("c", b"2", "{}", 1),
        ("d", b"1", '{"x": 1}', 1),
        ("e", b"1", "{}", 2),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "config.json").write_text(config)
        versions.append(version_of(parse({"kind": "orm", "model": str(folder), "temperature": temperature})))
    assert versions[0] == versions[1]
    assert len(set(versions)) == 4
    served = parse({"kind": "likelihood", "model": "policy"})
    assert version_of(served, {"policy": str(tmp_path / "a")}) != version_of(
        served, {"policy": str(tmp_path / "c")}
    )
