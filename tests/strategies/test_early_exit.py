"""Early exit: when it asks, what it reads, when it stops thinking."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import Unsupported
from mull.strategies.early_exit import EarlyExit
from mull.strategies.single import Single
from mull.testing import ScriptedGenerator, Trial, World
from mull.types import Answer, Sampling

WORLD = World()
THOUGHT = "abcdefghij" * 6
"""Sixty tokens of thinking, which `said` may cut into."""


async def ask(
    *said: str, commits: bool = False, limits: Limits | None = None, n: int = 1, **fields: Any
) -> tuple[Answer, Trial]:
    """Run it over a model that thinks for 60 tokens; asked after k times 10 it says the k-th of these."""
    end = fields.get("end_of_thinking", "</think>")

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        if text.endswith("\nAnswer:"):
            assert sampling.temperature == 0.0
            return said[len(text.removesuffix("\nAnswer:")) // 10 - 1]
        if text.endswith("So:"):
            return " \\boxed{9}"
        if end and text.endswith(end):
            return "\\boxed{8}"
        return (THOUGHT + (f"{end}\\boxed{{7}}" if end else "\\boxed{7}"))[len(text) :]

    options = {"span": 10, "probe": "\nAnswer:", "closing": "So:", **fields}
    trial = Trial(
        EarlyExit(**options),
        WORLD,
        task=WORLD.task(max_tokens=200, n=n),
        generator=ScriptedGenerator(script),
        limits=limits,
        commits=commits,
    )
    return await trial.solve(), trial


def probes(trial: Trial) -> int:
    return sum(node.kind == "probe" and bool(node.tokens) for node in trial.run.trace.nodes)


@pytest.mark.parametrize(
    ("said", "agree", "asked"),
    [
        ((" 1\n", " 1\n", " 1\n"), 3, 3),
        ((" 1\n", " 2\n", " 2\n", " 2\n"), 3, 4),
        ((" 1\n", " 1\n"), 2, 2),
        ((" 5\n",), 1, 1),
        ((" 1/2\n", " 0.5\n"), 2, 2),
        ((" 1\n", " dunno, let me think about that\n", " 1\n", " 1\n"), 2, 4),
    ],
)
async def test_it_stops_thinking_when_replies_in_a_row_agree(
    said: tuple[str, ...], agree: int, asked: int
) -> None:
    answer, trial = await ask(*said, agree=agree, probe_tokens=12)
    assert answer.best.candidate.text == THOUGHT[: 10 * asked] + "</think>So: \\boxed{9}"
    assert (answer.best.answer, len(answer.choices), probes(trial)) == ("9", 1, asked)
    assert trial.run.stopped == "consensus"


async def test_probes_are_billed_and_thrown_away() -> None:
    answer, trial = await ask(" 4\n", " 4\n", agree=2)
    assert trial.run.budget.tokens == answer.best.candidate.tokens + 2 * len(" 4\n")
    assert trial.run.budget.tokens == trial.generator.usage.completion
    assert "Answer:" not in answer.best.candidate.text


async def test_thinking_that_never_settles_ends_of_itself() -> None:
    answer, trial = await ask(*(f" {i}\n" for i in range(6)), agree=2)
    assert answer.best.candidate.text == THOUGHT + "</think>\\boxed{8}"
    assert (trial.run.stopped, probes(trial)) == ("complete", 6)


async def test_without_a_tag_the_whole_answer_is_thinking() -> None:
    answer, trial = await ask(*(f" {i}\n" for i in range(7)), agree=2, end_of_thinking=None)
    assert (answer.best.answer, answer.best.candidate.text) == ("7", THOUGHT + "\\boxed{7}")
    answer, trial = await ask(" 1\n", " 1\n", agree=2, end_of_thinking=None)
    assert (answer.best.candidate.text, trial.run.stopped) == (THOUGHT[:20] + "So: \\boxed{9}", "consensus")


async def test_replies_that_do_not_end_agree_with_nothing() -> None:
    answer, trial = await ask(*[" 1 or so" * 9] * 6, agree=2, probe_tokens=6)
    assert (answer.best.answer, trial.run.stopped) == ("8", "complete")


async def test_the_number_of_probes_is_bounded() -> None:
    _, trial = await ask(*[" 1\n"] * 6, agree=5, probes=2)
    assert probes(trial) == 2
    assert trial.run.budget.samples <= EarlyExit(agree=5, probes=2).cost().generations


async def test_a_part_can_end_at_a_delimiter() -> None:
    _, trial = await ask(*[" 1\n"] * 6, agree=2, span=30, delimiter="j")
    parts = [n.text for n in trial.run.trace.nodes if n.kind == "thinking"]
    assert parts[:2] == ["abcdefghij", "abcdefghij"]


async def test_it_saves_tokens_and_keeps_the_answer_where_the_model_knows_it_early() -> None:
    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        known = "1" if len(text) > 60 else str(rng.randint(2, 10**9))
        return f" {known}" if text.endswith(":") else ("well " * 100)[len(text) :] + "\\boxed{1}"

    right = spent = whole = 0
    for seed in range(20):
        task = WORLD.task(seed=seed, max_tokens=600)
        strategy = EarlyExit(span=20, agree=2, end_of_thinking=None)
        early = Trial(strategy, WORLD, task=task, generator=ScriptedGenerator(script))
        full = Trial(Single(), WORLD, task=task, generator=ScriptedGenerator(script))
        right += (await early.solve()).best.answer == (await full.solve()).best.answer == "1"
        spent += early.run.budget.tokens
        whole += full.run.budget.tokens
    assert right == 20
    assert spent < 0.35 * whole


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
async def test_a_spent_budget_returns_the_thinking_so_far(samples: int) -> None:
    answer, trial = await ask(*[" 1\n"] * 6, agree=2, limits=Limits(samples=samples))
    assert (answer.best.answer, trial.run.stopped) == (None, "samples")
    assert answer.best.candidate.text.startswith(THOUGHT[:10])


@pytest.mark.parametrize("said", [" 1\n", " dunno\n"])
async def test_all_of_it_is_committed_as_it_comes(said: str) -> None:
    answer, trial = await ask(*[said] * 6, agree=2, commits=True)
    assert trial.run.committed == answer.best.candidate.text
    assert len(trial.chunks) > 6


async def test_several_answers_are_thought_out_one_by_one() -> None:
    answer, trial = await ask(*[" 1\n"] * 6, agree=2, n=2)
    assert [c.answer for c in answer.choices] == ["9", "9"]
    assert probes(trial) == 4


async def test_an_engine_that_cannot_continue_is_refused() -> None:
    engine = ScriptedGenerator(WORLD, continues=False)
    trial = Trial(EarlyExit(end_of_thinking=None, span=8), WORLD, generator=engine)
    with pytest.raises(Unsupported, match="cannot continue"):
        await trial.solve()


@pytest.mark.parametrize(
    "fields", [{"span": 0}, {"agree": 0}, {"probe": ""}, {"probes": 0}, {"delimiter": ""}]
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        EarlyExit.model_validate(fields)
