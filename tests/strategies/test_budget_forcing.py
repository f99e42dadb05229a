"""Budget forcing: thinking extended by a word, cut by a budget, and what that costs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import Unsupported
from mull.strategies.budget_forcing import BudgetForcing
from mull.testing import ScriptedGenerator, Trial, World, solve
from mull.testing.generator import END
from mull.types import Answer, Sampling

WORLD = World()


async def ask(
    book: Mapping[str, str], *, max_tokens: int = 200, commits: bool = False, n: int = 1, **fields: Any
) -> tuple[Answer, Trial]:
    """Run it over a model that goes on from a text as the book says: by how the text so far ends."""

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        return next(
            rest for ending, rest in book.items() if text.endswith(ending) and bool(text) == bool(ending)
        )

    limits = fields.pop("limits", None)
    task = WORLD.task(max_tokens=max_tokens, n=n)
    strategy = BudgetForcing(**fields)
    trial = Trial(
        strategy, WORLD, task=task, generator=ScriptedGenerator(script), limits=limits, commits=commits
    )
    return await trial.solve(), trial


def kinds(trial: Trial) -> list[tuple[str, str, int]]:
    return [(n.kind, n.text, n.tokens) for n in trial.run.trace.nodes[1:]]


TAGGED = {"": "hm</think>\\boxed{1}", "Wait": ", no</think>\\boxed{2}", "</think>": "\\boxed{3}"}
PLAIN = {"": "so \\boxed{1}", "Wait": ", no: \\boxed{2}", "Answer:": " 4."}


async def test_the_end_of_thinking_is_replaced_by_the_word_and_put_back_at_last() -> None:
    answer, trial = await ask(TAGGED, extensions=2)
    assert answer.best.candidate.text == "hmWait, noWait, no</think>\\boxed{3}"
    assert (answer.best.answer, len(answer.choices)) == ("3", 1), "half a thought is no answer"
    assert kinds(trial) == [
        ("thinking", "hm", len("hm</think>")),
        ("forced", "Wait", 0),
        ("thinking", ", no", len(", no</think>")),
        ("forced", "Wait", 0),
        ("thinking", ", no", len(", no</think>")),
        ("forced", "</think>", 0),
        ("sample", "\\boxed{3}", len("\\boxed{3}") + 1),
    ]


async def test_what_is_forced_is_not_billed() -> None:
    answer, trial = await ask(TAGGED, extensions=1)
    generated = sum(n.tokens for n in trial.run.trace.nodes)
    assert answer.best.candidate.tokens == generated == trial.run.budget.tokens
    assert generated == trial.generator.usage.completion
    said = len("hm</think>") + len(", no</think>") + len("\\boxed{3}") + 1
    assert generated == said


async def test_without_extensions_thinking_ends_where_the_model_ends_it() -> None:
    answer, trial = await ask(TAGGED, extensions=0)
    assert answer.best.candidate.text == "hm</think>\\boxed{3}"
    assert trial.run.budget.samples == 2 == BudgetForcing(extensions=0).cost().generations


async def test_thinking_is_cut_at_its_budget_and_closed() -> None:
    book = {"": "hm " * 30, "Answer:": " \\boxed{7}"}
    answer, trial = await ask(book, thinking=10, extensions=2)
    assert answer.best.candidate.text == "hm hm hm h</think>\n\nFinal Answer: \\boxed{7}"
    assert (answer.best.answer, answer.best.candidate.tokens) == ("7", 10 + len(" \\boxed{7}") + 1)
    assert trial.run.budget.samples == 2


async def test_the_budget_is_that_of_all_thinking_together() -> None:
    book = {"": "abc</think>", "Wait": "defghi" * 9, "Answer:": " 5"}
    answer, _ = await ask(book, thinking=16, extensions=2)
    assert answer.best.candidate.text == "abcWaitdefgh</think>\n\nFinal Answer: 5", (
        "3 + 8 of the tag + 5, of 16"
    )


async def test_thinking_that_has_used_up_its_budget_is_not_extended() -> None:
    answer, _ = await ask(TAGGED, thinking=10, extensions=3)
    assert answer.best.candidate.text == "hm</think>\\boxed{3}", "it ended of itself, on its last token"
    answer, trial = await ask(PLAIN, thinking=13, extensions=3, end_of_thinking=None)
    assert (answer.best.candidate.text, trial.run.budget.samples) == ("so \\boxed{1}", 1)


@pytest.mark.parametrize("end", [None, "</think>"])
async def test_a_model_without_a_tag_is_extended_where_its_answer_ends(end: str | None) -> None:
    answer, trial = await ask(PLAIN, extensions=2, end_of_thinking=end)
    texts = ["so \\boxed{1}Wait, no: \\boxed{2}Wait, no: \\boxed{2}", "so \\boxed{1}Wait, no: \\boxed{2}"]
    assert [c.candidate.text for c in answer.choices] == [*texts, "so \\boxed{1}"]
    assert [c.answer for c in answer.choices] == ["2", "2", "1"]
    assert END not in (answer.best.candidate.prompt.ids or ())[:-1], "an end that was taken back is gone"
    assert trial.run.budget.samples == 3


async def test_an_extension_that_is_cut_off_gives_back_the_answer_before_it() -> None:
    book = {"": "so \\boxed{1}", "Wait": ", hm" * 99}
    for commits in (False, True):
        answer, trial = await ask(book, max_tokens=60, extensions=1, end_of_thinking=None, commits=commits)
        assert (answer.best.answer, answer.best.candidate.text) == ("1", "so \\boxed{1}")
        assert [c.candidate.finish for c in answer.choices] == ["stop", "length"]
        assert trial.run.committed == ("so \\boxed{1}" if commits else "")


async def test_a_spent_budget_gives_what_there_is() -> None:
    answer, trial = await ask(PLAIN, end_of_thinking=None, limits=Limits(samples=1))
    assert (answer.best.answer, trial.run.stopped) == ("1", "samples")
    answer, trial = await ask(TAGGED, extensions=0, limits=Limits(samples=1))
    assert (answer.best.candidate.text, answer.best.answer, trial.run.stopped) == (
        "hm</think>",
        None,
        "samples",
    )
    answer, trial = await ask(TAGGED, extensions=1, limits=Limits(samples=1))
    assert (answer.best.candidate.text, trial.run.stopped) == ("hmWait", "samples")


async def test_a_thought_longer_than_the_request_allows_is_cut_off() -> None:
    answer, trial = await ask({"": "hm " * 90}, max_tokens=30)
    assert (answer.best.candidate.finish, answer.best.candidate.tokens, trial.run.budget.samples) == (
        "length",
        30,
        1,
    )


async def test_the_requests_own_stop_strings_end_the_answer_not_the_thinking() -> None:
    book = {"": "one;two</think>", "</think>": "\\boxed{3};more"}

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        return book["</think>" if text else ""]

    task = WORLD.task()
    sampling = Sampling(max_tokens=200, temperature=1.0, seed=0, stop=(";",))
    task = type(task)(chat=task.chat, sampling=sampling)
    answer, _ = await solve(
        BudgetForcing(extensions=0), WORLD, task=task, generator=ScriptedGenerator(script)
    )
    assert answer.best.candidate.text == "one;two</think>\\boxed{3}"


async def test_several_answers_are_thought_out_one_by_one() -> None:
    answer, trial = await ask(TAGGED, extensions=1, n=2)
    assert [c.answer for c in answer.choices] == ["3", "3"]
    assert trial.run.budget.samples == 6


async def test_the_answer_is_streamed_while_it_is_written() -> None:
    answer, trial = await ask(TAGGED, extensions=1, commits=True)
    pieces = [c.text for c in trial.chunks]
    assert "".join(pieces) == answer.best.candidate.text
    assert pieces[:3] == ["hm", "Wait, no", "</think>"]
    assert len(pieces) > 6


async def test_more_thinking_helps_a_model_that_corrects_itself() -> None:
    """Each extension is another chance of .5 to see the mistake: .5, .75, .875 right, 4 sigma."""

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        right = "\\boxed{1}" in text or rng.random() < 0.5
        return f" so \\boxed{{{1 if right else 2}}}"

    n, shares = 150, []
    for extensions in (0, 1, 2):
        right = 0
        for seed in range(n):
            engine, task = ScriptedGenerator(script), WORLD.task(seed=seed)
            strategy = BudgetForcing(extensions=extensions, end_of_thinking=None)
            answer, _ = await solve(strategy, WORLD, task=task, generator=engine)
            right += answer.best.answer == "1"
        shares.append(right / n)
    for share, expected in zip(shares, (0.5, 0.75, 0.875), strict=True):
        assert abs(share - expected) < 4 * (expected * (1 - expected) / n) ** 0.5


async def test_an_engine_that_cannot_continue_is_refused() -> None:
    with pytest.raises(Unsupported, match="cannot continue"):
        await solve(
            BudgetForcing(end_of_thinking=None), WORLD, generator=ScriptedGenerator(WORLD, continues=False)
        )


def test_telling_a_tag_from_the_end_needs_to_know_the_end() -> None:
    assert BudgetForcing().needs.ends
    assert not BudgetForcing(end_of_thinking=None).needs.ends


@pytest.mark.parametrize(
    "fields", [{"extensions": -1}, {"word": ""}, {"thinking": 0}, {"end_of_thinking": ""}]
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        BudgetForcing.model_validate(fields)
