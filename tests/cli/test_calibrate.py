from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from mull.server.bench.outcomes import Sample
from mull.server.bench.spec import parse_run
from mull.server.calibrate.grid import plan
from mull.server.calibrate.probe import Probe
from mull.server.settings import load
from mull.testing import ScriptedGenerator, World
from mull.types import Chat, Chunk, Completion, Meter, Prompt, Sampling

from .conftest import Served, Start

Mull = Callable[..., Result]

EASY, HARD = World(skill=1.0), World(skill=0.5)
RUNS = ("--run", "single", "--run", "majority_vote:n=4", "--run", "best_of_n:n=16,verifier=orm")


class Mixed:
    """A model to which some questions are easy."""

    model = "mixed"
    continues = True
    context = 4096
    ends = frozenset({0})

    def __init__(self) -> None:
        self._easy = ScriptedGenerator(EASY, sure=lambda text: 0.95)
        self._hard = ScriptedGenerator(HARD, sure=lambda text: 0.4 + len(text) / 100)

    @property
    def calls(self) -> int:
        return self._easy.calls + self._hard.calls

    async def render(self, chat: Chat) -> Prompt:
        return await self._easy.render(chat)

    def _for(self, prompt: Prompt) -> ScriptedGenerator:
        return self._easy if prompt.chat.question.startswith("easy") else self._hard

    def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        return self._for(prompt).sample(prompt, sampling, n=n, meter=meter)

    def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        return self._for(prompt).stream(prompt, sampling, meter=meter)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Forty problems, every second one easy to the model."""
    path = tmp_path / "mixed.jsonl"
    rows = [{"question": f"{('easy', 'hard')[i % 2]} {i}", "answer": EASY.reference} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_calibrates_writes_a_policy_and_serves_it(
    start: Start, mull: Mull, mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ("--problems", mixed, "--out", out, "--temperature", 1, *RUNS)
    with start(model=Mixed()) as served:
        result = mull("calibrate", *common, "--url", served.url)
        assert result.exit_code == 0, result.output
        calls = served.model.calls
        # All is in the log: a second call asks for nothing.
        assert mull("calibrate", *common, "--url", served.url).exit_code == 0
        assert served.model.calls == calls
    policy = json.loads((out / "policy.json").read_text())
    high = policy["presets"]["effort-high"]
    assert (high["strategy"], high["verifier"]) == ("adaptive", "orm")
    first, last = high["parameters"]["levels"][0], high["parameters"]["levels"][-1]
    assert first["inner"] == {"strategy": "majority_vote", "n": 4}
    assert last["inner"] == {"strategy": "best_of_n", "n": 16}
    assert first["at_least"] > 0.5 > last["at_least"] == 0
    assert policy["efforts"] == {effort: f"effort-{effort}" for effort in ("low", "medium", "high", "xhigh")}
    assert policy["provenance"]["model"] == "mixed"
    assert policy["provenance"]["problems"]["count"] == 40
    assert len(policy["provenance"]["problems"]["sha256"]) == 64
    report = json.loads((out / "report.json").read_text())
    assert report["bins"][0]["problems"] >= 20
    assert report["curve"][0]["strategy"] == "single"
    assert report["provenance"]["held_out"]["high"]["accuracy"]["value"] > 0.85
    assert result.stdout == (out / "report.md").read_text()
    assert "| effort | accuracy, % | held out [95 %] |" in result.stdout
    assert f"mull serve --calibration {out / 'policy.json'}" in result.stdout
    assert (out / "accuracy-tokens.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "accuracy-tokens.svg").read_text()
    # What was promised for the level is what the server then does, at its cost.
    configured = load(
        None,
        calibration=out / "policy.json",
        models={"mixed": {"path": "m"}},
        verifiers={"orm": {"kind": "orm", "model": "v"}},
    )
    assert configured.efforts["high"] == "effort-high"
    levels = json.dumps(high["parameters"]["levels"])
    with start(model=Mixed()) as served:
        run = f"adaptive:levels={levels},verifier=orm"
        bench = ("bench", mixed, "--run", run, "--temperature", 1, "--out", tmp_path / "check")
        assert mull(*bench, "--url", served.url).exit_code == 0
    (measured,) = json.loads((tmp_path / "check/report.json").read_text())["runs"]
    promised = policy["provenance"]["in_sample"]["high"]
    assert measured["accuracy"]["value"] == pytest.approx(promised["accuracy"]["value"], abs=0.1)
    assert measured["tokens"]["value"] == pytest.approx(promised["tokens"]["value"], rel=0.1)


@pytest.mark.parametrize("signal", ["confidence", "score"])
def test_other_signals_need_a_probe_of_their_own(
    start: Start, mull: Mull, mixed: Path, tmp_path: Path, signal: str
) -> None:
    options = ("--signal", signal, "--bins", 3, "--temperature", 1, "--url")
    with start(model=Mixed()) as served:
        result = mull("calibrate", "--problems", mixed, "--out", tmp_path / "o", *RUNS, *options, served.url)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "o/report.json").read_text())
    assert report["probe"] == {"signal": signal, "samples": 4}
    assert len(report["bins"]) > 1
    assert all(0 <= b["at_least"] <= 1 for b in report["bins"])


def test_the_default_grid_leaves_out_what_does_not_work_here(
    start: Start, mull: Mull, problems: Path, tmp_path: Path
) -> None:
    with start() as served:
        result = mull("calibrate", "--problems", problems, "--out", tmp_path / "o", "--url", served.url)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "o/report.json").read_text())
    assert {run["text"] for run in report["runs"]} >= {
        "single:greedy=true",
        "majority_vote:n=32",
        "best_of_n:n=32",
        "beam_search:width=8,expand=8,prune=0.3",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folds", 13), "12 problems cannot be split into 13 folds"),
        (("--run", "single:temperature=0"), "a policy has nothing to choose from"),
        (("--run", "single", "--run", "single:model=m"), "a policy is for one model"),
        (("--run", "best_of_n:verifier=orm", "--run", "best_of_n:verifier=prm"), "the runs name orm and prm"),
        (("--run", "best_of_n:n"), "not of the form name=value"),
        (("--signal", "luck"), "luck"),
    ],
)
def test_wrong_usage(
    shared: Served, mull: Mull, problems: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    result = mull(
        "calibrate", "--problems", problems, "--out", tmp_path / "o", *arguments, "--url", shared.url
    )
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def sample(answer: str | None, score: float | None = None, confidence: float | None = None) -> Sample:
    return Sample(answer=answer, correct=False, score=score, tokens=1, complete=True, confidence=confidence)


def test_agreement_counts_samples_without_an_answer() -> None:
    read = Probe(signal="agreement").read
    assert read([sample("1"), sample("1"), sample(None), sample("2")]) == 0.5
    assert read([sample(None)] * 4) == 0
    assert read([]) == 0


def test_score_and_confidence_are_means() -> None:
    assert Probe(signal="score").read([sample("1", 0.25), sample("1", 0.75), sample("1")]) == 0.5
    assert Probe(signal="confidence").read([sample("1", None, 0.2), sample("1", None, 0.4)]) == pytest.approx(
        0.3
    )


def test_the_probe_is_no_run_of_its_own_where_a_cell_draws_the_same() -> None:
    sampling: dict[str, Any] = {"temperature": 1.0}
    runs = [parse_run(text) for text in ("single", "majority_vote:n=4", "single:temperature=0")]
    found = plan(runs, sampling, Probe(samples=4))
    assert [run.text for run in found.runs] == [
        "single:temperature=1.0",
        "majority_vote:n=4,temperature=1.0",
        "single:temperature=0",
    ]
    assert [run.text for run in found.fixed] == ["single:temperature=0"]
    other = plan(runs, sampling, Probe(samples=8))
    assert other.runs[0].text == "majority_vote:n=8,temperature=1.0"
