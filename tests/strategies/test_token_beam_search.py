"""Beam search over tokens: against a model whose probabilities are known."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.base import Needs
from mull.strategies.token_beam_search import TokenBeamSearch
from mull.testing import Trial, World
from mull.testing.generator import END
from mull.types import Answer, Chat, Chunk, Completion, Meter, Prompt, Sampling, TokenLogprob, Usage

END_TEXT = "$"
"""Stands for the end of sequence in the tables."""


class Table:
    """A model that is a table of next-token probabilities; greedy, which is all that is asked of it here."""

    model, continues, context, ends = "table", True, 64, frozenset({END})

    def __init__(self, table: dict[str, dict[str, float]]) -> None:
        self.table = table
        self.usage = Usage()
        self.calls = 0
        self.in_flight = 0

    async def render(self, chat: Chat) -> Prompt:
        return Prompt(chat=chat, ids=(1, 2, 3))

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        return prompt.append(text, tuple(map(ord, text)))

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        assert (n, sampling.max_tokens, sampling.temperature) == (1, 1, 0.0)
        assert sampling.logprobs
        assert prompt.ids == (1, 2, 3, *map(ord, prompt.text)), "the ids are not those of the text"
        following = self.table.get(prompt.text, {END_TEXT: 1.0})
        ordered = sorted(following.items(), key=lambda item: -item[1])
        options = [
            (t if t != END_TEXT else "", ord(t) if t != END_TEXT else END, math.log(p)) for t, p in ordered
        ]
        text, id, logprob = options[0]
        usage = Usage(prompt=len(prompt.ids), completion=1)
        self.usage += usage
        self.calls += 1
        if meter is not None:
            meter.add(usage)
        token = TokenLogprob(token=text, id=id, logprob=logprob, top=tuple(options[: sampling.logprobs]))
        yield Completion(
            text=text, ids=(id,), finish="stop" if id == END else "length", usage=usage, logprobs=(token,)
        )

    def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        raise NotImplementedError


GARDEN = {
    "": {"a": 0.6, "b": 0.4},
    "a": {"a": 0.4, "b": 0.35, END_TEXT: 0.25},
    "b": {"c": 0.9, END_TEXT: 0.1},
    "bc": {END_TEXT: 1.0},
}
"""Greedily `aa` with .24, but `bc` has .36."""


async def decode(
    table: dict[str, dict[str, float]], *, stop: tuple[str, ...] = (), n: int = 1, **fields: Any
) -> tuple[Answer, Trial]:
    limits, max_tokens = fields.pop("limits", None), fields.pop("max_tokens", None)
    task = World().task(max_tokens=max_tokens, n=n)
    task = type(task)(
        chat=task.chat, sampling=Sampling(max_tokens=max_tokens, stop=stop, temperature=0.7, seed=1), n=n
    )
    engine: Any = Table(table)
    trial = Trial(TokenBeamSearch(**fields), World(), task=task, generator=engine, limits=limits)
    return await trial.solve(), trial


def texts(answer: Answer) -> list[str]:
    return [c.candidate.text for c in answer.choices]


async def test_one_beam_is_greedy() -> None:
    answer, trial = await decode(GARDEN, width=1)
    assert texts(answer) == ["aa"]
    assert trial.run.budget.tokens == trial.run.calls == 3
    assert answer.best.candidate.tokens == 3


async def test_two_beams_find_the_most_probable_answer() -> None:
    answer, _ = await decode(GARDEN, width=2, length_penalty=0.0)
    assert answer.best.candidate.text == "bc"
    assert answer.best.score == pytest.approx(0.36)
    assert answer.confidence == answer.best.score
    assert answer.best.candidate.complete


async def test_probabilities_are_those_of_the_whole_answer() -> None:
    """With beams enough for all answers, all come back in the order of their probability."""
    table = {
        "": {"a": 0.5, "b": 0.3, "c": 0.2},
        **{x: {"d": 0.7, "e": 0.3} for x in "abc"},
    }
    answer, _ = await decode(table, width=6, length_penalty=0.0, n=6)
    expected = {x + y: p * q for x, p in table[""].items() for y, q in table[x].items()}
    assert texts(answer) == sorted(expected, key=lambda text: -expected[text])
    assert [c.score for c in answer.choices] == pytest.approx(sorted(expected.values(), reverse=True))


@pytest.mark.parametrize(("penalty", "best"), [(0.0, "a"), (1.0, "bcde")])
async def test_the_length_penalty_is_a_power_of_the_length(penalty: float, best: str) -> None:
    table = {
        "": {"a": 0.5, "b": 0.5},
        "b": {"c": 0.8},
        "bc": {"d": 0.8},
        "bcd": {"e": 0.8},
        "a": {END_TEXT: 0.6},
    }
    answer, _ = await decode(table, width=2, length_penalty=penalty, n=2)
    assert answer.best.candidate.text == best
    logprob = math.log(0.5 * 0.6) if best == "a" else math.log(0.5 * 0.8**3)
    tokens = 2 if best == "a" else 5
    assert answer.best.score == pytest.approx(math.exp(logprob / tokens**penalty))


async def test_an_ending_counts_among_the_best_continuations_only() -> None:
    table = {"": {"a": 0.5, "b": 0.4, END_TEXT: 0.1}, "a": {END_TEXT: 1.0}, "b": {END_TEXT: 1.0}}
    answer, _ = await decode(table, width=2, n=3)
    assert texts(answer) == ["a", "b"]
    answer, _ = await decode(table, width=3, n=3)
    assert set(texts(answer)) == {"a", "b", ""}


async def test_each_beam_costs_one_token_a_step_and_only_kept_ones_are_traced() -> None:
    answer, trial = await decode(GARDEN, width=2, length_penalty=0.0)
    nodes = trial.run.trace.nodes[1:]
    assert sum(n.tokens for n in nodes) == trial.run.budget.tokens == trial.run.calls
    turns = [n for n in nodes if n.kind == "turn"]
    assert all(n.tokens == 0 for n in turns)
    assert (turns[0].text, turns[0].data["logprob"]) == ("b", round(math.log(0.4), 4))
    path, parents = [], {n.id: n.parent for n in nodes}
    at: int | None = answer.best.candidate.node
    while at:
        path.append(trial.run.trace.nodes[at].text)
        at = parents[at]
    assert "".join(reversed(path)) == "bc"


async def test_sampled_tokens_that_are_not_kept_are_marked() -> None:
    table = {"": {"a": 0.9, "b": 0.1}, "a": {"c": 0.5, "d": 0.5}, "b": {"e": 1.0}}
    _, trial = await decode(table, width=2, n=2)
    assert [n.text for n in trial.run.trace.nodes if n.data.get("pruned")] == ["e"]


async def test_stop_strings_end_answers_that_nobody_sampled() -> None:
    """One that begins in the text before the token, and one that is a token."""
    table = {"": {"a": 0.6, "b": 0.4}, "a": {"x": 1.0}, "b": {"c": 0.6, "d": 0.4}, "bc": {"e": 1.0}}
    answer, _ = await decode(table, width=4, stop=("bd",), n=4, length=4)
    assert sorted((c.candidate.text, c.candidate.complete) for c in answer.choices) == [
        ("ax", True),
        ("b", True),
        ("bce", True),
    ]
    answer, _ = await decode({"": {"a": 0.6, "b": 0.4}, "a": {"x": 1.0}}, width=2, stop=("b",), n=2)
    assert [(c.candidate.text, c.candidate.complete) for c in answer.choices] == [("ax", True), ("", True)]


async def test_impossible_tokens_are_not_taken() -> None:
    answer, _ = await decode({"": {"a": 1.0, "b": 1e-300}, "a": {END_TEXT: 1.0}}, width=4, n=4, length=2)
    assert answer.best.candidate.text == "a"


@pytest.mark.parametrize("fields", [{"length": 2}, {"max_tokens": 2}])
async def test_what_is_too_long_is_cut_off_and_ranks_last(fields: dict[str, Any]) -> None:
    table = {"": {"a": 0.9, "b": 0.1}, "b": {END_TEXT: 1.0}} | {p: {"a": 1.0} for p in ("a", "aa", "aaa")}
    answer, _ = await decode(table, width=2, n=2, **fields)
    assert answer.best.candidate.text == "b"
    assert not answer.choices[-1].candidate.complete


async def test_a_spent_budget_returns_the_best_so_far() -> None:
    answer, trial = await decode(GARDEN, width=2, limits=Limits(tokens=3))
    assert trial.run.stopped == "tokens"
    assert trial.run.budget.tokens <= 3
    assert answer.choices


async def test_it_asks_for_twice_as_many_alternatives_as_beams() -> None:
    table = {"": {chr(ord("a") + i): p for i, p in enumerate((0.4, 0.3, 0.2, 0.1))}}
    answer, _ = await decode(table, width=2, n=4, length=2)
    assert texts(answer) == ["a", "b"]
    assert TokenBeamSearch().needs == Needs(continues=True, ends=True)
    assert TokenBeamSearch(width=3, length=7).cost().generations == 21


@pytest.mark.parametrize(
    "fields", [{"width": 0}, {"width": 11}, {"length": 0}, {"length_penalty": -1}, {"n": 2}]
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TokenBeamSearch.model_validate(fields)
