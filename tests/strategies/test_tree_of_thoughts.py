"""Tree of thoughts: what is thought, what it is worth, where the search goes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import Unsupported
from mull.strategies.replies import last_number, last_word
from mull.strategies.tree_of_thoughts import TreeOfThoughts
from mull.strategies.tree_of_thoughts.thoughts import lines
from mull.testing import Script, ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.types import Chat

from .readers import says

WORLD = World(depth=3, branches=3, skill=0.4)
PROMPTS: dict[str, Any] = {
    "propose_prompt": "PROPOSE {n}\n{question}\nSTEPS\n{steps}",
    "answer_prompt": "ANSWER\n{question}\nSTEPS\n{steps}",
    "value_prompt": "VALUE\n{question}\nSTEPS\n{steps}",
    "vote_prompt": "VOTE {count}\n{question}\n{states}",
}
LINES = "take 0\ntake 1\ntake 2"


DIGIT = re.compile(r"take (\d)")


def steps_in(question: str) -> str:
    return question.partition("STEPS\n")[2].replace("(none)", "")


class Model:
    """A model that is asked with `PROMPTS`; all replies can be exchanged. Counts what it is asked."""

    def __init__(self, world: World = WORLD, **replies: Callable[[str], str]) -> None:
        self.asked: Counter[str] = Counter()
        self.world = world
        self.replies: dict[str, Callable[[str], str]] = {
            "PROPOSE": lambda question: LINES,
            "ANSWER": self._answer,
            "VALUE": lambda question: "sure" if self._right(steps_in(question)) else "impossible",
            "VOTE": self._vote,
        } | replies

    def engine(self, **options: Any) -> ScriptedGenerator:
        return ScriptedGenerator(self.world, talk=self._talk, **options)

    def _talk(self, chat: Chat) -> Script:
        kind = chat.question.split(maxsplit=1)[0]
        self.asked[kind] += 1
        return says(self.replies[kind](chat.question)) if kind in self.replies else self.world

    def _right(self, steps: str) -> bool:
        return all(digit == "1" for digit in DIGIT.findall(steps))

    def _answer(self, question: str) -> str:
        return f"\\boxed{{{''.join(DIGIT.findall(steps_in(question)))}}}"

    def _vote(self, question: str) -> str:
        states = re.split(r"^\[\d+\]$", question, flags=re.MULTILINE)[1:]
        best = next((i for i, state in enumerate(states, 1) if self._right(state)), 1)
        return f"The best is {best}."


def thoughts(**fields: Any) -> TreeOfThoughts:
    return TreeOfThoughts(**PROMPTS | fields)


async def share(strategy: TreeOfThoughts, runs: int, make: Callable[[], Model]) -> float:
    """How often it is right."""
    right = 0
    for seed in range(runs):
        found, _ = await solve(strategy, WORLD, task=WORLD.task(seed=seed), generator=make().engine())
        right += found.best.answer == WORLD.reference
    return right / runs


@pytest.mark.parametrize("evaluate", ["value", "vote"])
async def test_a_model_that_judges_well_finds_the_optimum_among_sampled_thoughts(evaluate: str) -> None:
    """One sample is right with p = .064; eight thoughts a level have the right one with .95 in all."""
    strategy = thoughts(evaluate=evaluate, expand=8, width=1, votes=1)
    assert await share(strategy, 60, Model) > 0.8


async def test_a_perfect_verifier_finds_the_optimum_among_sampled_thoughts() -> None:
    strategy, right = TreeOfThoughts(evaluate="verifier", expand=8, width=1), 0
    for seed in range(40):
        found, _ = await solve(
            strategy, WORLD, task=WORLD.task(seed=seed), verifier=ScriptedVerifier.perfect(WORLD)
        )
        right += found.best.answer == WORLD.reference
    assert right > 32


@pytest.mark.parametrize("evaluate", ["value", "vote"])
@pytest.mark.parametrize("search", ["bfs", "dfs"])
async def test_a_model_that_cannot_judge_does_no_harm(evaluate: str, search: str) -> None:
    """Replies that say nothing leave the first thought the best: as often right as one sample, p = .36."""
    world, n, right = World(depth=2, skill=0.6), 150, 0
    strategy = thoughts(evaluate=evaluate, search=search, expand=3, width=2, votes=1)
    for seed in range(n):
        model = Model(world, VALUE=lambda _: "Hard to say.", VOTE=lambda _: "All are fine.")
        found, _ = await solve(strategy, world, task=world.task(seed=seed), generator=model.engine())
        right += found.best.answer == world.reference
    assert abs(right / n - world.p_right) < 4 * (world.p_right * (1 - world.p_right) / n) ** 0.5


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"width": 1}, {"PROPOSE": 3, "VALUE": 9, "ANSWER": 1}),
        ({"width": 2}, {"PROPOSE": 5, "VALUE": 15, "ANSWER": 1}),
        ({"width": 2, "votes": 2}, {"PROPOSE": 5, "VALUE": 30, "ANSWER": 1}),
        ({"width": 2, "evaluate": "vote"}, {"PROPOSE": 5, "VOTE": 3, "ANSWER": 1}),
        ({"search": "dfs"}, {"PROPOSE": 3, "VALUE": 9, "ANSWER": 1}),
        ({"search": "dfs", "evaluate": "vote"}, {"PROPOSE": 3, "VOTE": 3, "ANSWER": 1}),
    ],
)
async def test_proposed_thoughts_find_the_optimum_at_the_cost_of_the_theory(
    fields: dict[str, Any], asked: dict[str, int]
) -> None:
    model = Model()
    strategy = thoughts(**{"generate": "propose", "expand": 3, "votes": 1} | fields)
    found, trial = await solve(strategy, WORLD, generator=model.engine(continues=False))
    assert found.best.answer == WORLD.reference
    assert model.asked == asked
    assert trial.run.budget.samples <= strategy.cost().generations
    if fields.get("search") != "dfs" and fields["width"] == 1:
        assert trial.run.budget.samples == strategy.cost().generations


async def test_depth_first_turns_back_where_nothing_is_promising() -> None:
    """`take 0` looks best at first and leads nowhere."""

    def value(question: str) -> str:
        digits = DIGIT.findall(steps_in(question))
        if digits == ["0"]:
            return "sure"
        return "maybe" if set(digits) == {"1"} else "impossible"

    model = Model(VALUE=value)
    strategy = thoughts(generate="propose", search="dfs", expand=3, votes=1)
    found, trial = await solve(strategy, WORLD, generator=model.engine())
    assert found.best.answer == "111"
    assert model.asked["PROPOSE"] == 4, "the root, the dead end, then two more on the way"
    pruned = [n.text for n in trial.run.trace.nodes if n.data.get("pruned")]
    assert pruned.count("take 2") == 4
    assert trial.run.stopped == "complete"


async def test_depth_first_stops_after_its_visits_with_the_deepest_thoughts() -> None:
    model = Model(VALUE=lambda question: "maybe" if "take" in question else "sure")
    strategy = thoughts(generate="propose", search="dfs", expand=3, votes=1, visits=2, depth=9)
    found, trial = await solve(strategy, WORLD, generator=model.engine())
    assert (model.asked["PROPOSE"], trial.run.stopped) == (2, "visits")
    assert found.best.answer == "00"


async def test_when_everything_is_given_up_the_best_thoughts_still_answer() -> None:
    model = Model(VALUE=lambda question: "impossible")
    found, _ = await solve(
        thoughts(generate="propose", search="dfs", votes=1), WORLD, generator=model.engine()
    )
    assert (found.best.answer, model.asked["PROPOSE"]) == ("0", 1)


async def test_values_are_the_papers_and_their_mean() -> None:
    replies = iter(["It is sure.", "Impossible", "likely", "no idea"])
    model = Model(PROPOSE=lambda _: "take 1", VALUE=lambda _: next(replies))
    strategy = thoughts(generate="propose", depth=1, votes=4)
    found, _ = await solve(strategy, WORLD, generator=model.engine())
    assert found.best.score == pytest.approx((20 + 0.001 + 1) / 3 / 20)


async def test_votes_are_shares() -> None:
    replies = iter(["1", "I choose 2", "2.", "none of the 7"])
    model = Model(VOTE=lambda _: next(replies))
    strategy = thoughts(generate="propose", evaluate="vote", depth=1, votes=4)
    found, trial = await solve(strategy, WORLD, generator=model.engine())
    assert found.confidence == pytest.approx(2 / 3)
    assert found.best.answer == "1"
    ballots = [n for n in trial.run.trace.nodes if n.kind == "ballot"]
    assert [len(n.data["parents"]) for n in ballots] == [3]


async def test_a_line_that_says_done_ends_the_thinking() -> None:
    model = Model(PROPOSE=lambda question: "Done." if "take" in question else LINES)
    strategy = thoughts(generate="propose", depth=5, expand=3, width=1, votes=1)
    found, _ = await solve(strategy, WORLD, generator=model.engine())
    assert (found.best.answer, model.asked["PROPOSE"]) == ("1", 2)


async def test_finished_answers_compete_and_are_not_written_on() -> None:
    found, trial = await solve(
        TreeOfThoughts(evaluate="verifier", depth=6, expand=3, width=2),
        WORLD,
        verifier=ScriptedVerifier.perfect(WORLD),
    )
    ended = {n.id for n in trial.run.trace.nodes if n.finish == "stop"}
    assert not ended & {n.parent for n in trial.run.trace.nodes}
    assert found.best.candidate.complete
    assert not any(n.kind == "rollout" for n in trial.run.trace.nodes)


async def test_as_many_answers_as_are_asked_for() -> None:
    for search in ("bfs", "dfs"):
        model = Model(VALUE=lambda _: "maybe")
        strategy = thoughts(generate="propose", search=search, depth=2, votes=1)
        found, _ = await solve(strategy, WORLD, task=WORLD.task(n=3), generator=model.engine())
        assert len({c.answer for c in found.choices if c.candidate.complete}) == 3


async def test_at_temperature_0_the_model_is_asked_once() -> None:
    model = Model()
    strategy = thoughts(generate="propose", expand=3, width=1, votes=3)
    await solve(strategy, WORLD, task=WORLD.task(temperature=0.0), generator=model.engine())
    assert model.asked["VALUE"] == 9


async def test_a_budget_spent_on_proposals_gives_the_thoughts_as_a_cut_off_answer() -> None:
    trial = Trial(
        thoughts(generate="propose", expand=3, votes=1),
        WORLD,
        generator=Model().engine(),
        limits=Limits(samples=4),
    )
    found = await trial.solve()
    assert (found.best.candidate.truncated, found.best.answer, trial.run.stopped) == (True, None, "samples")
    assert found.best.candidate.text == "take 1\n"


async def test_sampled_thoughts_need_an_engine_that_continues_and_proposed_ones_do_not() -> None:
    assert TreeOfThoughts().needs.continues
    assert not TreeOfThoughts(generate="propose").needs.continues
    assert TreeOfThoughts(evaluate="verifier").needs.verifier == "process"
    with pytest.raises(Unsupported, match="cannot continue"):
        await solve(TreeOfThoughts(), WORLD, generator=ScriptedGenerator(WORLD, continues=False))


@pytest.mark.parametrize(
    ("reply", "cut", "expected"),
    [
        ("a\nb\na\n\n", False, ["a", "b"]),
        ("Here are some:\n1. a\n2) b\n- c", False, ["a", "b", "c"]),
        ("a\nb and", True, ["a"]),
        ("1.5 + 2\n3", False, ["1.5 + 2", "3"]),
        ("", False, []),
    ],
)
def test_a_reply_is_read_line_by_line(reply: str, cut: bool, expected: list[str]) -> None:
    assert lines(reply, cut=cut) == expected


def test_replies_are_read_from_their_end() -> None:
    assert last_number("1 or 2? I say 2, of 9", 3) == 2
    assert last_number("option 3.", 3) == 3
    assert last_number("3.5, x3, 0", 3) is None
    assert last_word("Sure? No: IMPOSSIBLE.", ("sure", "impossible")) == "impossible"
    assert last_word("I am unsure", ("sure",)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"generate": "guess"},
        {"evaluate": "coin"},
        {"search": "mcts"},
        {"depth": 0},
        {"threshold": 1.5},
        {"votes": 0},
        {"propose_prompt": "{question}"},
        {"vote_prompt": "{question}"},
        {"beam": 3},
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TreeOfThoughts.model_validate(fields, strict=True)
