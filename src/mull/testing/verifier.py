"""Verifiers of known quality."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from mull.errors import VerifierUnavailable
from mull.testing.world import DELIMITER, World
from mull.types import Candidate, Score, Task, VerifierKind

Judge = Callable[[str, bool], float]
"""Probability that an answer is right which begins with this text (False) or is this text (True); pure."""


class ScriptedVerifier:
    """Implements `mull.protocols.Verifier` over a judge of texts.

    Args:
        judge: What it thinks of a text.
        name: Under which it is asked for.
        kind: `outcome` judges the whole text, `process` each of its prefixes that end a step.
        fail_after: Number of calls after which it is gone.
        pause: Awaited at each call, to hold or slow it; by default a bare turn of the event loop.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        name: str = "scripted",
        kind: VerifierKind = "process",
        fail_after: int | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.calls = 0
        self.in_flight = 0
        self._judge = judge
        self._fail_after = fail_after
        self._pause = pause

    @classmethod
    def perfect(cls, world: World, **options: object) -> Self:
        """Knows whether all steps so far are right; what has ended must have given the reference too."""
        return cls(lambda text, ended: float(_on_track(world, text, ended)), **options)  # type: ignore[arg-type]

    @classmethod
    def noisy(cls, world: World, *, noise: float = 0.2, seed: int = 0, **options: object) -> Self:
        """The perfect one's score, moved by up to `noise`, always the same for the same text."""

        def judge(text: str, ended: bool) -> float:
            error = random.Random(repr((seed, text))).uniform(-noise, noise)
            return min(1.0, max(0.0, float(_on_track(world, text, ended)) + error))

        return cls(judge, **options)  # type: ignore[arg-type]

    @classmethod
    def constant(cls, value: float = 0.5, **options: object) -> Self:
        """Knows nothing: every text is worth the same."""
        return cls(lambda text, ended: value, **options)  # type: ignore[arg-type]

    @classmethod
    def random(cls, *, seed: int = 0, **options: object) -> Self:
        """Knows nothing, but prefers: a uniformly random score, always the same for the same text."""
        return cls(lambda text, ended: random.Random(repr((seed, text))).random(), **options)  # type: ignore[arg-type]

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate."""
        self.calls += 1
        self.in_flight += 1
        try:
            await (asyncio.sleep(0) if self._pause is None else self._pause())
            if self._fail_after is not None and self.calls > self._fail_after:
                raise VerifierUnavailable("the scripted verifier is gone", name=self.name)
            return [self._score(c) for c in candidates]
        finally:
            self.in_flight -= 1

    def _score(self, candidate: Candidate) -> Score:
        text, ended = candidate.text, candidate.complete
        if self.kind == "outcome":
            return Score(value=self._judge(text, ended), tokens=len(text))
        *lines, _ = text.splitlines(keepends=True) or [""]
        steps = [self._judge("".join(lines[: i + 1]), False) for i in range(len(lines))]
        steps.append(self._judge(text, ended))
        return Score(value=min(steps), steps=tuple(steps), tokens=len(text))


def _on_track(world: World, text: str, ended: bool) -> bool:
    """Whether what is written can still become, or is, the right answer."""
    path = DELIMITER.join(["take 1"] * world.depth) + f"{DELIMITER}\\boxed{{{world.reference}}}"
    return text == path if ended else path.startswith(text)
