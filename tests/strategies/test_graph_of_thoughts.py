"""Graph of thoughts: what operations take and give, what a graph may look like, what is the answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.strategies.graph_of_thoughts import GraphOfThoughts
from mull.strategies.nested import Inner
from mull.testing import Script, ScriptedGenerator, ScriptedVerifier, Trial, World, solve
from mull.types import Chat, Sampling, Task, text_of

from .readers import answers_in, says

WORLD = World(depth=2, skill=0.6)


def got(*graph: dict[str, Any], **fields: Any) -> GraphOfThoughts:
    return GraphOfThoughts.model_validate({"graph": list(graph)} | fields, strict=True)


def turns(*replies: str) -> ScriptedGenerator:
    """An engine whose replies are these, in the order of asking."""
    left = iter(replies)
    return ScriptedGenerator(lambda text, rng, sampling: next(left))


def box(answer: object) -> str:
    return f"\\boxed{{{answer}}}"


def nodes(trial: Trial, kind: str) -> list[Any]:
    return [n for n in trial.run.trace.nodes if n.kind == kind]


# -- the paper's example: sorting by parts --


def sorter(chat: Chat) -> Script:
    """Sorts digits, loses one in seven; merges sorted digits; knows whether digits are sorted well."""
    contents = [text_of(message["content"]) for message in chat.messages]
    if contents[-1] == "SORTED?":
        told = answers_in(Chat(messages=({"role": "user", "content": contents[-2]},)))
        wanted = "".join(sorted(contents[0].partition("SORT ")[2]))
        return says("Yes" if told == [wanted] else "No")
    if contents[-1].startswith("MERGE"):
        return says(box("".join(sorted("".join(answers_in(chat))))))
    digits = contents[-1].partition("SORT ")[2]

    def sort(text: str, rng: random.Random, sampling: Sampling) -> str:
        return box("".join(d for d in sorted(digits) if rng.random() > 1 / 7))

    return sort


def sorting(digits: str) -> GraphOfThoughts:
    """Sort both halves several times, keep the best of each, merge."""
    half = len(digits) // 2
    return got(
        {"op": "generate", "n": 5, "prompt": f"SORT {digits[:half]}", "part": True},
        {"op": "score", "prompt": "SORTED?"},
        {"op": "keep_best", "n": 1},
        {"op": "generate", "from": [], "n": 5, "prompt": f"SORT {digits[half:]}", "part": True},
        {"op": "score", "prompt": "SORTED?"},
        {"op": "keep_best", "n": 1},
        {"op": "aggregate", "from": [2, 5], "prompt": "MERGE {thoughts}"},
    )


async def test_sorting_by_parts_beats_sorting_at_once() -> None:
    """All ten digits survive with p = .21; each half is right in one of five tries with .95."""
    rng, right, at_once = random.Random(3), 0, 0
    for seed in range(50):
        digits = "".join(rng.choice("0123456789") for _ in range(10))
        wanted = "".join(sorted(digits))
        task = Task(
            chat=Chat(messages=({"role": "user", "content": f"SORT {digits}"},)),
            sampling=Sampling(max_tokens=200, temperature=1.0, seed=seed),
        )
        strategy = sorting(digits)
        found, trial = await solve(
            strategy, WORLD, task=task, generator=ScriptedGenerator(WORLD, talk=sorter)
        )
        assert trial.run.budget.samples <= strategy.cost().generations == 21
        right += found.best.answer == wanted
        plain = got({"op": "generate", "n": 1})
        found, _ = await solve(plain, WORLD, task=task, generator=ScriptedGenerator(WORLD, talk=sorter))
        at_once += found.best.answer == wanted
    assert right >= 38
    assert at_once <= 20


async def test_parts_are_no_candidates() -> None:
    task = Task(chat=Chat(messages=({"role": "user", "content": "SORT 21"},)))
    found, trial = await solve(
        sorting("21"), WORLD, task=task, generator=ScriptedGenerator(WORLD, talk=sorter)
    )
    assert len(found.choices) == 1
    [joined] = [n for n in nodes(trial, "thought") if n.id == found.best.candidate.node]
    assert len(joined.data["parents"]) == 2
    parts = [n for n in nodes(trial, "thought") if n is not joined]
    assert set(joined.data["parents"]) <= {n.id for n in parts}


# -- what operations do --


async def test_the_default_graph_is_that_of_the_docs_and_costs_what_it_says() -> None:
    strategy = GraphOfThoughts()
    verifier = ScriptedVerifier.constant()
    found, trial = await solve(
        GraphOfThoughts(scorer="verifier"), WORLD, generator=turns(*map(box, range(9))), verifier=verifier
    )
    assert [n.kind for n in trial.run.trace.nodes if "number" in n.data] == [
        "generate",
        "score",
        "keep_best",
        "aggregate",
        "refine",
        "score",
    ]
    assert trial.run.budget.samples == 6
    assert (strategy.cost().generations, strategy.cost().scores) == (12, 0)
    assert (GraphOfThoughts(scorer="verifier").cost().generations, verifier.calls) == (6, 2)
    assert len(found.choices) == 6
    assert found.best.answer in ("4", "5"), "equal scores: the graph's result"


async def share(choose: ScriptedVerifier | None, runs: int) -> float:
    right = 0
    for seed in range(runs):
        found, _ = await solve(
            GraphOfThoughts(scorer="verifier"), WORLD, task=WORLD.task(seed=seed), verifier=choose
        )
        right += found.best.answer == WORLD.reference
    return right / runs


async def test_a_perfect_verifier_finds_a_right_thought_if_there_is_one_and_a_useless_one_does_no_harm() -> (
    None
):
    """Six thoughts of p = .36, each of its own: 1 - .64^6 = .93; without a verifier that knows, .36."""
    n, p = 120, WORLD.p_right
    expected = 1 - (1 - p) ** 6
    found = await share(ScriptedVerifier.perfect(WORLD), n)
    assert abs(found - expected) < 4 * (expected * (1 - expected) / n) ** 0.5
    assert abs(await share(ScriptedVerifier.constant(), n) - p) < 4 * (p * (1 - p) / n) ** 0.5


async def test_the_model_judges_itself() -> None:
    def talk(chat: Chat) -> Script:
        if len(chat.messages) > 1:
            return says("Yes" if WORLD.reference in text_of(chat.messages[-2]["content"]) else "No")
        return WORLD

    graph = ({"op": "generate", "n": 12}, {"op": "score"}, {"op": "keep_best"})
    for seed in range(20):
        found, trial = await solve(
            got(*graph),
            WORLD,
            task=WORLD.task(seed=seed),
            generator=ScriptedGenerator(WORLD, talk=talk),
        )
        wanted = any(c.answer == WORLD.reference for c in found.choices)
        assert (found.best.answer == WORLD.reference) == wanted
        assert trial.run.verifier_calls == 0


async def test_keeping_the_best_drops_the_others_and_goes_on_from_it() -> None:
    replies = [box(i) for i in (1, 2, 3)]

    def talk(chat: Chat) -> Script:
        last = text_of(chat.messages[-1]["content"])
        if last == "GOOD?":
            return says("Yes" if "{2}" in text_of(chat.messages[-2]["content"]) else "No")
        return says(box(9)) if last.startswith("MORE") else lambda *_: replies.pop(0)

    found, trial = await solve(
        got(
            {"op": "generate", "n": 3},
            {"op": "score", "prompt": "GOOD?"},
            {"op": "keep_best", "n": 1},
            {"op": "generate", "n": 2, "prompt": "MORE {thought}"},
        ),
        WORLD,
        generator=ScriptedGenerator(WORLD, talk=talk),
    )
    assert sorted(n.text for n in trial.run.trace.nodes if n.data.get("pruned")) == [box(1), box(3)]
    assert [c.answer for c in found.choices] == ["9", "9", "2", "1", "3"], "the result, then by score"
    origins = {trial.run.trace.nodes[c.candidate.node].data["parents"][0] for c in found.choices[:2]}
    assert [trial.run.trace.nodes[i].text for i in origins] == [box(2)]


async def test_thoughts_that_come_by_two_ways_count_once() -> None:
    found, trial = await solve(
        got(
            {"op": "generate", "n": 2},
            {"op": "keep_best", "n": 1, "from": [0]},
            {"op": "refine", "from": [0, 1, 0]},
        ),
        WORLD,
        generator=turns(*map(box, "1234")),
    )
    assert trial.run.budget.samples == 4
    assert [c.answer for c in found.choices] == ["3", "4", "1", "2"]


async def test_refining_is_a_further_turn_and_fails_safely() -> None:
    seen: list[Sequence[str]] = []

    def talk(chat: Chat) -> Script:
        seen.append([text_of(m["content"]) for m in chat.messages])
        return says("well " * 100) if len(chat.messages) > 1 else says(box(1))

    found, _ = await solve(
        got({"op": "generate", "n": 1}, {"op": "refine", "prompt": "AGAIN {x}"}),
        WORLD,
        generator=ScriptedGenerator(WORLD, talk=talk),
    )
    assert seen[1] == ["Take 1, 2 times.", box(1), "AGAIN {x}"]
    assert (found.best.answer, found.choices[1].candidate.truncated) == ("1", True)


async def test_a_spent_budget_leaves_what_there_is() -> None:
    def spent(samples: int) -> Any:
        graph = ({"op": "generate", "n": 2, "part": True, "prompt": "HALF"}, {"op": "aggregate"})
        return solve(got(*graph), WORLD, generator=turns(*map(box, "123")), limits=Limits(samples=samples))

    found, trial = await spent(2)
    assert (found.best.candidate.truncated, found.best.answer, trial.run.stopped) == (True, None, "samples")
    found, trial = await spent(3)
    assert (found.best.answer, len(found.choices), trial.run.stopped) == ("3", 1, "complete")


async def test_what_outgrows_the_context_is_skipped() -> None:
    found, trial = await solve(
        got(
            {"op": "generate", "n": 2},
            {"op": "aggregate", "prompt": "x" * 300 + "{thoughts}"},
            {"op": "refine"},
        ),
        WORLD,
        generator=ScriptedGenerator(WORLD, context=200),
    )
    assert (len(found.choices), len(nodes(trial, "too_long"))) == (2, 1)


# -- graphs as data --


def test_a_graph_comes_back_as_it_was_given() -> None:
    graph = [{"op": "generate", "n": 2}, {"op": "refine", "from": [0]}]
    inner = Inner.model_validate({"strategy": "graph_of_thoughts", "graph": graph})
    dumped = inner.model_dump()
    assert dumped["graph"][1]["from"] == (0,)
    assert Inner.model_validate(inner.model_dump(mode="json")) == inner
    schema = GraphOfThoughts.model_json_schema()
    assert "from" in schema["$defs"]["Refine"]["properties"]


def test_it_needs_a_verifier_only_to_score_with() -> None:
    assert GraphOfThoughts().needs.verifier is None
    assert GraphOfThoughts(scorer="verifier").needs.verifier == "outcome"
    assert got({"op": "generate"}, scorer="verifier").needs.verifier is None


GENERATE = {"op": "generate"}


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        ([], "at least 1"),
        ([GENERATE] * 65, "at most 64"),
        ([{"op": "refine"}], "nothing to take"),
        ([GENERATE, {"op": "score", "from": []}], "nothing to take"),
        ([GENERATE, {"op": "refine", "from": [1]}], "can take from 0 to 0"),
        ([GENERATE, {"op": "refine", "from": [2]}, GENERATE], "can take from 0 to 0"),
        ([GENERATE, {"op": "refine", "from": [-1]}], "can take from 0 to 0"),
        ([{"op": "generate", "n": 64}, {"op": "generate", "n": 64}], "more than 256"),
        ([{"op": "generate", "n": 0}], "greater than"),
        ([{"op": "guess"}], "guess"),
        ([GENERATE, {"op": "aggregate", "prompt": "{question}"}], "match"),
        ([GENERATE, {"op": "keep_best", "prompt": "x"}], "not permitted"),
    ],
)
def test_bad_graphs_are_refused(graph: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        got(*graph)
