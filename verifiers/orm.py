"""Outcome reward models: one score for a whole answer."""

from __future__ import annotations

from collections.abc import Sequence

from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.concurrency import together
from mull.verifiers.engine import Engine, probability
from mull.verifiers.reading import Passage, Reader, sampled_ids


class OutcomeVerifier:
    """A sequence classifier with one label on vLLM's pooling runner; its sigmoid is the score.

    Follows Cobbe et al. 2021 (Training Verifiers to Solve Math Word Problems) in what it judges and Ouyang et
    al. 2022 in how: at the last token. A complete answer is closed as the chat template closes it; a partial
    one is judged at its last token. Empty answers, and those longer than the model's context, score 0.

    Args:
        name: The verifier's name.
        engine: Its model.
        reader: Its tokenizer and chat template.
        temperature: Divides the logit (calibration).
        bias: Added to the logit before that.
    """

    kind: VerifierKind = "outcome"

    def __init__(
        self, name: str, engine: Engine, reader: Reader, *, temperature: float = 1.0, bias: float = 0.0
    ) -> None:
        self.name = name
        self._engine = engine
        self._reader = reader
        self._temperature = temperature
        self._bias = bias

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order; copies of one answer are judged once.

        Raises:
            VerifierUnavailable: the engine died or refuses.
            InvalidRequest: the chat cannot be rendered or is too long.
        """
        passages = [Passage(text=c.text, ids=sampled_ids(c), closed=c.complete) for c in candidates]
        readings = await self._reader.read(task.chat, passages)
        paths = [
            tuple(reading.ids) if reading is not None and candidate.text.strip() else None
            for candidate, reading in zip(candidates, readings, strict=True)
        ]
        unique = [path for path in dict.fromkeys(paths) if path is not None]
        judged = dict(zip(unique, await together(self._judge(path) for path in unique), strict=True))
        scores = []
        for path in paths:
            value, tokens = judged[path] if path is not None else (0.0, 0)
            scores.append(Score(value=value, tokens=tokens))
            if path is not None:
                judged[path] = value, 0
        return scores

    async def _judge(self, ids: Sequence[int]) -> tuple[float, int]:
        logits, computed = await self._engine.classify(ids)
        return probability((logits[0] + self._bias) / self._temperature), computed
