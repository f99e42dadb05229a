"""Where a model's thinking ends and its answer begins, for strategies that move that boundary."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.form import Form
from mull.run import Run
from mull.strategies.base import Needs, StrategyModel
from mull.types import Candidate, Sampling


class Thinking(StrategyModel):
    """Base of the strategies that move that boundary."""

    continues: ClassVar[bool] = True

    closing: str = Field(
        "\n\nFinal Answer:", max_length=200, description="What follows thinking that was ended; may be empty."
    )
    end_of_thinking: str | None = Field(
        "</think>",
        min_length=1,
        max_length=200,
        description="Text that ends the thinking; None makes the whole answer thinking.",
    )

    @property
    def needs(self) -> Needs:
        """Knowing which tokens end an answer, to tell that from the end of thinking."""
        return super().needs | Needs(ends=self.end_of_thinking is not None)


def thoughts(run: Run, end: str | None) -> Sampling | None:
    """How to sample thinking: as the task says, paused at the text that ends it.

    The request's own stop strings are for the answer, where thinking and answer are apart.
    """
    return None if end is None else replace(run.task.sampling, stop=(end,), form=Form())


def answered(candidate: Candidate, run: Run, end: str | None) -> bool:
    """Whether the model ended its whole answer, and not only its thinking."""
    ids = candidate.prompt.ids or ()
    return candidate.complete and (end is None or (bool(ids) and ids[-1] in run.ends))


async def conclude(candidate: Candidate, text: str, run: Run, *, certain: bool) -> Candidate:
    """The candidate with the text put into it, and with the answer that the model then gives.

    `certain` says that whatever comes of it is what the run returns: it is committed as it is written.
    """
    forced = await run.append(candidate, text)
    if not certain:
        return next(iter(await run.collect(forced)), forced)
    run.commit_prefix([forced.text])
    return await run.follow(forced) or forced
