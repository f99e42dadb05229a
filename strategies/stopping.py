"""Voting that ends before all samples are drawn, without favouring the short ones.

Samples come in batches, and nothing is decided before a whole batch is there: an answer that takes long to
write counts as much as one that is finished at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mull.run import Run
from mull.strategies.ranking import by_votes, read
from mull.types import Answer, Candidate

Enough = Callable[[Sequence[int | None]], bool]
"""Whether to stop, from the answers' classes in the order of sampling; None is a sample without an answer."""


async def vote_until(run: Run, enough: Enough, *, n: int, batch: int) -> Answer:
    """Sample at most `n` answers, `batch` at a time, until a batch is enough; then vote.

    Raises:
        BudgetTooSmall: the budget did not allow a single token.
    """
    root = await run.start()
    candidates: list[Candidate] = []
    answers: list[str | None] = []
    while len(candidates) < n:
        wanted = min(batch, n - len(candidates))
        drawn = await run.collect(root, n=wanted)
        candidates += [replace(c, index=len(candidates) + c.index) for c in drawn]
        answers += await run.answers_of(drawn)
        if len(drawn) < wanted:
            break
        groups = await run.group(answers)
        if len(candidates) < n and enough(groups):
            run.mark("consensus", samples=len(candidates))
            run.stop("consensus")
            break
    choices = await read(run, candidates)
    return by_votes(choices, [1.0] * len(choices))
