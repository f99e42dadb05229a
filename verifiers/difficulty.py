"""Difficulty heads: how likely a question is solved, before anything is sampled."""

from __future__ import annotations

from collections.abc import Sequence

from mull.errors import InvalidRequest
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.orm import OutcomeVerifier


class DifficultyVerifier(OutcomeVerifier):
    """A sequence classifier with one label that reads the question alone; its sigmoid is the ease.

    Follows Damani et al. 2024, Learning How Hard to Think (arXiv:2410.04707): the probability that one sample
    of the policy is right, read off at the last token of the prompt.
    """

    kind: VerifierKind = "difficulty"

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
        value, computed = await self._judge(ids)
        return [Score(value=value, tokens=0 if i else computed) for i in range(len(candidates))]
