"""Asking until the model repeats itself."""

from pydantic import Field

from mull.run import Run
from mull.strategies.base import StrategyModel
from mull.strategies.ranking import by_votes, read
from mull.types import Answer, Candidate, Task


class UntilAgreed(StrategyModel):
    """Samples answers one after the other until `agree` of them are equal.

    Cost: from `agree` to `n` generations, no verifier.
    """

    agree: int = Field(2, ge=1, le=64, description="How many equal answers are enough.")
    n: int = Field(16, ge=1, le=1024, description="How many answers to sample at most.")

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, read, count, until it is enough."""
        root = await run.start()
        samples: list[Candidate] = []
        while True:
            new = await run.collect(root)
            samples += new
            answer = by_votes(await read(run, samples), [1.0] * len(samples))
            if (answer.best.votes or 0) >= self.agree or not new or len(samples) >= self.n:
                return answer
