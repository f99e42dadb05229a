"""What a request is expected to cost, before it has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mull.server.choose import Plan

if TYPE_CHECKING:
    from mull.server.service import Job

FIRST_GUESS = 128.0
"""Tokens of one generation, before any was seen."""
SMOOTHING = 0.1
"""How much one request changes what is expected of the next."""
UNKNOWN = 16
"""Generations of a strategy that does not say what it needs."""


class Expected:
    """Learns how long generations are, by model."""

    def __init__(self) -> None:
        self._length: dict[str, float] = {}

    def cost(self, job: Job) -> float:
        """Tokens that a request will generate, about."""
        plan = job.plan
        limits, most = plan.limits, job.task.sampling.max_tokens
        length = self._length.get(plan.model, FIRST_GUESS)
        if most is not None:
            length = min(length, most)
        tokens = generations(plan) * length
        return max(1.0, tokens if limits.tokens is None else min(tokens, limits.tokens))

    def learn(self, model: str, *, samples: int, tokens: int) -> None:
        """Note what a request did cost."""
        if samples:
            before = self._length.get(model, FIRST_GUESS)
            self._length[model] = before + SMOOTHING * (tokens / samples - before)


def generations(plan: Plan) -> int:
    """Generations of a request, at most."""
    cost = plan.strategy.cost()
    found = UNKNOWN if cost is None else cost.generations
    return found if plan.limits.samples is None else min(found, plan.limits.samples)


def in_flight(plan: Plan) -> int:
    """Generations that a request may have in flight: a search over steps those of one level, others all."""
    depth = getattr(plan.strategy, "depth", None)
    if plan.strategy.needs.continues and isinstance(depth, int):
        return -(-generations(plan) // max(1, depth))
    return generations(plan)
