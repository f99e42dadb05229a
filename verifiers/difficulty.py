"""Difficulty heads: how likely a question is solved, before anything is sampled."""

from __future__ import annotations

from collections.abc import Sequence

from mull.errors import InvalidRequest
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.engine import Engine, probability
from mull.verifiers.reading import Reader


class DifficultyVerifier:
    """A sequence classifier with one label that reads the question alone; its sigmoid is the ease.

    Follows Damani et al. 2024, Learning How Hard to Think (arXiv:2410.04707): the probability that one sample
    of the policy is right, read off at the last token of the prompt.

    Args:
        name: The verifier's name.
        engine: Its model.
        reader: Its tokenizer and chat template.
        temperature: Divides the logit (calibration).
        bias: Added to the logit before that.
    """

    kind: VerifierKind = "difficulty"

    def __init__(
        self, name: str, engine: Engine, reader: Reader, *, temperature: float = 1.0, bias: float = 0.0
    ) -> None:
        self.name = name
        self._engine = engine
        self._reader = reader
        self._temperature = temperature
        self._bias = bias

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """The question's ease, the same for every candidate.

        Raises:
            VerifierUnavailable: the engine died or refuses.
            InvalidRequest: the chat cannot be rendered or is too long.
        """
        if not candidates:
            return []
        ids = (await self._reader.render([task.chat]))[0]
        if ids is None:
            limit = self._reader.limit
            raise InvalidRequest(f"the conversation is too long: {self.name} reads fewer than {limit} tokens")
        logits, computed = await self._engine.classify(ids)
        value = probability((logits[0] + self._bias) / self._temperature)
        return [Score(value=value, tokens=0 if i else computed) for i in range(len(candidates))]
