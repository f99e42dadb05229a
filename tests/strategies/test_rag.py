"""Retrieval: what is looked for, what is shown, when it is done again, which answer is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mull.budget import Limits
from mull.errors import InvalidRequest, NotFound, RetrieverUnavailable
from mull.strategies.rag import Rag
from mull.testing import Script, ScriptedGenerator, ScriptedRetriever, ScriptedVerifier, Trial, World, solve
from mull.types import Candidate, Chat, Passage, Sampling, Score, Task

from .readers import everything, says

WORLD = World(depth=2, skill=0.6)
FACTS = {"ada": "Ada likes what Bob likes.", "bob": "Bob: 42.", "eve": "Eve: 7."}
TASK = Task(
    chat=Chat(messages=({"role": "user", "content": "What does Ada like?"},)),
    sampling=Sampling(max_tokens=200, temperature=1.0, seed=1),
)


def reading(chat: Chat) -> Script:
    """Answers what it has read; else it guesses, and says who would have to be asked."""
    text = everything(chat)
    if "Bob: 42" in text:
        return says("Bob likes 42, says [1]. \\boxed{42}")
    return lambda path, rng, sampling: f"One would have to ask Bob. \\boxed{{{rng.randrange(1000)}}}"


def rag(**fields: Any) -> Rag:
    return Rag.model_validate({"k": 1} | fields, strict=True)


KNOWN = {"ada": "Ada likes what Bob likes.", "bob": "Bob: 42, which is what Ada does not know."}

VOTING = {"inner": {"strategy": "majority_vote", "n": 4}, "at_least": 0.5}


async def ask(strategy: Rag, talk: Any = reading, **options: Any) -> tuple[Any, Trial, ScriptedRetriever]:
    retriever = options.pop("retriever", None) or ScriptedRetriever(FACTS)
    options = {"task": TASK, "generator": ScriptedGenerator(WORLD, talk=talk)} | options
    found, trial = await solve(strategy, WORLD, retrievers={"facts": retriever}, **options)
    return found, trial, retriever


def shown(trial: Trial) -> list[list[str]]:
    return [n.data["shown"] for n in trial.run.trace.nodes if n.kind == "rag"]


async def test_an_unsure_answer_says_what_to_look_for_next() -> None:
    """The question leads to Ada alone; what is answered about her leads to Bob."""
    found, trial, retriever = await ask(rag(**VOTING))
    assert (found.best.answer, found.confidence) == ("42", 1.0)
    assert shown(trial) == [["ada"], ["bob", "ada"]]
    first, second = retriever.queries
    assert first == "What does Ada like?"
    assert second.startswith(f"{first}\nOne would have to ask Bob.")
    assert trial.run.budget.samples == len(found.choices) == 8
    assert trial.run.budget.samples <= rag(**VOTING).cost().generations


async def test_a_sure_answer_costs_one_retrieval_and_one_inner_answer() -> None:
    found, trial, retriever = await ask(rag(k=3, **VOTING), retriever=ScriptedRetriever(KNOWN))
    assert (found.best.answer, len(retriever.queries), trial.run.budget.samples) == ("42", 1, 4)
    found, trial, retriever = await ask(rag(inner="single"))
    assert (len(retriever.queries), trial.run.budget.samples) == (1, 1)


async def test_it_ends_when_nothing_new_is_found() -> None:
    found, trial, retriever = await ask(
        rag(rounds=9, **VOTING), retriever=ScriptedRetriever({"ada": FACTS["ada"]})
    )
    assert (len(retriever.queries), trial.run.budget.samples, shown(trial)) == (2, 4, [["ada"]])
    assert found.confidence == 0.25


async def test_it_ends_after_its_rounds() -> None:
    _, trial, retriever = await ask(
        rag(**VOTING, rounds=2),
        talk=lambda chat: lambda path, rng, sampling: f"Eve, Bob? \\boxed{{{rng.randrange(1000)}}}",
    )
    assert len(retriever.queries) == 2 == len(shown(trial))


async def test_the_more_confident_answer_is_kept() -> None:
    """What is read later may confuse."""

    def talk(chat: Chat) -> Script:
        if "Bob: 42" in everything(chat):
            return lambda path, rng, sampling: f"\\boxed{{{rng.randrange(1000)}}}"
        return lambda path, rng, sampling: f"Ask Bob. \\boxed{{{rng.choice((5, 5, 6))}}}"

    found, trial, _ = await ask(rag(inner={"strategy": "majority_vote", "n": 12}, at_least=1.0), talk=talk)
    assert len(shown(trial)) > 1
    assert found.best.answer == "5"
    assert found.confidence > 0.25


async def test_with_a_perfect_retriever_one_answer_is_enough_and_a_useless_one_does_no_harm() -> None:
    """Passages that say nothing leave one sample: p = .36."""
    facts = ScriptedRetriever([f"Take 1, 2 times: {WORLD.reference}"])

    def talk(chat: Chat) -> Script:
        known = WORLD.reference in everything(chat)
        return says(f"\\boxed{{{WORLD.reference}}}") if known else WORLD

    n, right = 150, 0
    for seed in range(n):
        task = WORLD.task(seed=seed)
        found, trial, _ = await ask(rag(), talk=talk, task=task, retriever=facts)
        assert (found.best.answer, trial.run.budget.samples) == (WORLD.reference, 1)
        found, _, _ = await ask(rag(), talk=talk, task=task, retriever=ScriptedRetriever(["take care"]))
        right += found.best.answer == WORLD.reference
    assert abs(right / n - WORLD.p_right) < 4 * (WORLD.p_right * (1 - WORLD.p_right) / n) ** 0.5


async def test_the_model_can_write_the_query() -> None:
    def talk(chat: Chat) -> Script:
        if "search query" in everything(chat):
            return says("<think>who?</think>\n Bob 42 ")
        return reading(chat)

    found, trial, retriever = await ask(rag(query="written"), talk=talk)
    assert (retriever.queries, found.best.answer, trial.run.budget.samples) == (["Bob 42"], "42", 2)
    assert rag(query="written").cost().generations == 2


async def test_a_query_that_is_cut_off_or_empty_is_replaced_by_the_question() -> None:
    for query in ("well " * 100, " "):

        def talk(chat: Chat, query: str = query) -> Script:
            return says(query) if "search query" in everything(chat) else says("\\boxed{1}")

        _, _, retriever = await ask(rag(query="written"), talk=talk)
        assert retriever.queries == ["What does Ada like?"]


async def test_citations_name_the_passages_shown() -> None:
    strategy = rag(k=3, inner={"strategy": "majority_vote", "n": 2})
    found, trial, _ = await ask(strategy, retriever=ScriptedRetriever(KNOWN))
    numbered = shown(trial)[0]
    nodes = trial.run.trace.nodes
    assert [nodes[c.candidate.node].data["cited"] for c in found.choices] == [[numbered[0]]] * 2


async def test_a_verifier_sees_what_was_retrieved() -> None:
    class Grounded(ScriptedVerifier):
        seen: tuple[Passage, ...] = ()

        async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
            self.seen = task.documents
            return await super().score(task, candidates)

    verifier = Grounded.constant()
    strategy = rag(k=2, inner={"strategy": "best_of_n", "n": 2})
    await ask(strategy, verifier=verifier, retriever=ScriptedRetriever(KNOWN))
    assert {p.id: p.text for p in verifier.seen} == KNOWN


async def test_what_does_not_fit_is_left_out_from_the_end() -> None:
    texts = {str(i): f"Ada {i} " + "x" * 100 for i in range(6)}
    _, trial, _ = await ask(
        rag(k=6),
        talk=lambda chat: says("\\boxed{1}"),
        retriever=ScriptedRetriever(texts),
        generator=ScriptedGenerator(WORLD, context=700),
    )
    assert shown(trial) == [["0", "1", "2"]]


async def test_when_nothing_is_found_the_question_is_asked_as_it_is() -> None:
    seen: list[Chat] = []

    def talk(chat: Chat) -> Script:
        seen.append(chat)
        return says("\\boxed{1}")

    _, trial, _ = await ask(rag(), talk=talk, retriever=ScriptedRetriever(["nothing"]))
    assert seen == [TASK.chat]
    assert shown(trial) == [[]]


async def test_braces_in_passages_are_no_placeholders() -> None:
    seen: list[str] = []

    def talk(chat: Chat) -> Script:
        seen.append(everything(chat))
        return says("\\boxed{1}")

    await ask(rag(), talk=talk, retriever=ScriptedRetriever(["Ada {question} {text}"]))
    assert "Ada {question} {text}" in seen[0]


async def test_it_streams_only_where_the_first_answer_is_the_last() -> None:
    found, trial, _ = await ask(rag(), commits=True)
    assert trial.run.committed == found.best.candidate.text
    found, trial, _ = await ask(rag(at_least=0.5), commits=True)
    assert trial.run.committed == ""


async def test_retrievers_are_named() -> None:
    retrievers = {"a": ScriptedRetriever(FACTS), "b": ScriptedRetriever(FACTS)}
    for strategy, error, say in (
        (rag(), InvalidRequest, "name a retriever: a or b"),
        (rag(retriever="c"), NotFound, "unknown retriever 'c'"),
    ):
        with pytest.raises(error, match=say):
            await solve(strategy, WORLD, retrievers=retrievers)
    await solve(rag(retriever="b"), WORLD, retrievers=retrievers)
    assert [len(r.queries) for r in retrievers.values()] == [0, 1]
    with pytest.raises(InvalidRequest, match="none is configured"):
        await solve(rag(), WORLD, retrievers={})
    assert rag().needs.retriever


async def test_a_retriever_that_is_gone_is_reported() -> None:
    with pytest.raises(RetrieverUnavailable):
        await ask(rag(**VOTING), retriever=ScriptedRetriever(FACTS, fail_after=1))


async def test_a_retriever_that_hangs_costs_the_deadline_and_not_the_answer() -> None:
    calls = 0

    async def pause() -> None:
        nonlocal calls
        calls += 1
        await (asyncio.get_running_loop().create_future() if calls > 1 else asyncio.sleep(0))

    found, trial, _ = await ask(
        rag(**VOTING), retriever=ScriptedRetriever(FACTS, pause=pause), limits=Limits(seconds=0.3)
    )
    assert (trial.run.stopped, len(found.choices)) == ("seconds", 4)


async def test_it_needs_and_costs_what_its_inner_strategy_does() -> None:
    strategy = rag(inner={"strategy": "beam_search", "depth": 2}, at_least=0.9, rounds=2)
    assert (strategy.needs.verifier, strategy.needs.continues) == ("process", True)
    assert strategy.cost().generations == 2 * 2 * 16


@pytest.mark.parametrize(
    "fields",
    [
        {"k": 0},
        {"rounds": 0},
        {"at_least": 1.1},
        {"query": "none"},
        {"prompt": "{question}"},
        {"passage": "{id}"},
        {"inner": "oracle"},
        {"chunks": 3},
    ],
)
def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        rag(**fields)
