"""A verifier whose calls are counted."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mull.errors import VerifierUnavailable
from mull.protocols import Verifier
from mull.server.metrics import Metrics
from mull.types import Candidate, Score, Task


class Metered:
    """Counts the calls of a verifier, how large they are, how long they take and what comes of them.

    Args:
        inner: What judges.
        metrics: Where it is counted.
    """

    def __init__(self, inner: Verifier, metrics: Metrics) -> None:
        self.name, self.kind = inner.name, inner.kind
        self._inner = inner
        self._metrics = metrics

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """What the verifier says."""
        metrics, started = self._metrics, time.monotonic()
        metrics.verifier_calls.labels(self.name).inc()
        metrics.verifier_batches.labels(self.name).observe(len(candidates))
        try:
            scores = await self._inner.score(task, candidates)
        except VerifierUnavailable:
            metrics.verifier_errors.labels(self.name).inc()
            raise
        finally:
            metrics.verifier_seconds.labels(self.name).observe(time.monotonic() - started)
        metrics.verifier_tokens.labels(self.name).inc(sum(score.tokens for score in scores))
        distribution = metrics.scores.labels(self.name)
        for score in scores:
            if score.known:
                distribution.observe(score.value)
        return scores
