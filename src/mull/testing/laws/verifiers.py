"""What every verifier has to keep: each law takes a verifier, a task and candidates for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from mull.protocols import Verifier
from mull.testing.laws.broken import require
from mull.types import Candidate, Score, Task


async def a_batch_equals_its_members(
    verifier: Verifier, task: Task, candidates: Sequence[Candidate], tolerance: float = 1e-4
) -> None:
    """Scores do not depend on what else is in the batch, on its order, or on who asks at the same time."""
    together = await verifier.score(task, candidates)
    require(len(together) == len(candidates), f"{len(together)} scores for {len(candidates)} candidates")
    singles = [s for c in candidates for s in await verifier.score(task, [c])]
    backwards = (await verifier.score(task, candidates[::-1]))[::-1]
    at_once = [s for [s] in await asyncio.gather(*(verifier.score(task, [c]) for c in candidates))]
    for way, others in (("alone", singles), ("in reverse", backwards), ("concurrently", at_once)):
        for one, other in zip(together, others, strict=True):
            require(_close(_values(one), _values(other), tolerance), f"scored {way}, {one} becomes {other}")
    require(await verifier.score(task, []) == [], "an empty batch has scores")


async def scores_are_probabilities(verifier: Verifier, task: Task, candidates: Sequence[Candidate]) -> None:
    """Scores lie in [0, 1]; a process verifier gives one a step, an outcome verifier none."""
    for candidate, score in zip(candidates, await verifier.score(task, candidates), strict=True):
        require(all(0 <= v <= 1 for v in _values(score)), f"{score} is no probability")
        require(score.tokens >= 0, "negative tokens")
        if verifier.kind == "outcome":
            require(not score.steps, "an outcome verifier gives step scores")
        elif candidate.text:
            require(len(score.steps) > 0, "a process verifier gives no step scores")


VERIFIER_LAWS: tuple[Callable[[Verifier, Task, Sequence[Candidate]], Awaitable[None]], ...] = (
    a_batch_equals_its_members,
    scores_are_probabilities,
)


def _values(score: Score) -> tuple[float, ...]:
    return (score.value, *score.steps)


def _close(a: Iterable[float], b: Iterable[float], tolerance: float) -> bool:
    first, second = list(a), list(b)
    return len(first) == len(second) and all(
        abs(x - y) <= tolerance for x, y in zip(first, second, strict=True)
    )
