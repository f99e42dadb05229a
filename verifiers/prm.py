"""Process reward models with a classification head: a score for each step."""

from __future__ import annotations

from collections.abc import Sequence

from mull.types import Aggregation, Candidate, Score, Task, VerifierKind, aggregate
from mull.verifiers.engine import Engine, Tail, share
from mull.verifiers.formats import StepTag, TokenClassification
from mull.verifiers.incremental import Incremental
from mull.verifiers.reading import Reader, sampled_ids
from mull.verifiers.steps import split


class ProcessVerifier:
    """A token classifier on vLLM's pooling runner: the probability of a label at the end of each step.

    Follows Lightman et al. 2023 (Let's Verify Step by Step). Steps are cut by `mull.verifiers.steps.split`.
    Scoring is
    incremental: in a search that extends answers step by step, each step is computed once.

    An answer without steps, or longer than the model's context, scores 0 without step scores.

    Args:
        name: The verifier's name.
        engine: Its model.
        reader: Its tokenizer and chat template.
        format: Layout of the answer and label to read.
        delimiter: Where steps end in an answer.
        aggregation: How `Score.value` is made from the steps.
        memory: Step scores kept at most.
    """

    kind: VerifierKind = "process"

    def __init__(
        self,
        name: str,
        engine: Engine,
        reader: Reader,
        *,
        format: TokenClassification | StepTag,
        delimiter: str = "\n",
        aggregation: Aggregation = "min",
        memory: int = 1 << 16,
    ) -> None:
        self.name = name
        self._reader = reader
        self._format = format
        self._delimiter = delimiter
        self._aggregation: Aggregation = aggregation
        self._steps = Incremental(engine.rows, self._judge, memory)

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order; copies of one answer are judged once.

        Raises:
            VerifierUnavailable: the engine died or refuses.
            InvalidRequest: the chat cannot be rendered or is too long.
        """
        passages = [
            self._format.lay_out(c.text, split(c.text, self._delimiter), sampled_ids(c)) for c in candidates
        ]
        judged = await self._steps.run(await self._reader.read(task.chat, passages))
        return [
            Score(value=0.0)
            if found is None
            else Score(value=aggregate(found[0], self._aggregation), steps=found[0], tokens=found[1])
            for found in judged
        ]

    def _judge(self, tail: Tail, first: int, last: int) -> float | None:
        return share(tail[last].tolist(), self._format.label) if last >= tail.first else None
