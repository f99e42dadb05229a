"""A judge that likes short answers."""

from collections.abc import Sequence

from mull.types import Candidate, Score, Task, VerifierKind


class Brevity:
    """Scores an answer of `characters` characters one half, shorter ones higher."""

    kind: VerifierKind = "outcome"

    def __init__(self, name: str, *, characters: int = 500) -> None:
        self.name = name
        self._characters = characters

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate."""
        return [Score(value=self._characters / (self._characters + len(c.text))) for c in candidates]
