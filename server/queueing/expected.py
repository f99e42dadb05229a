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
    """Learns, by model and strategy, what comes of the generations that a request may have.

    A search ends long before it has had all of them, and its steps are shorter than answers.
    """

    def __init__(self) -> None:
        self._each: dict[tuple[str, type], float] = {}

    def cost(self, job: Job) -> float:
        """Tokens that a request will generate, about."""
        plan = job.plan
        limits, most = plan.limits, job.task.sampling.max_tokens
        each = self._each.get((plan.model, type(plan.strategy)), FIRST_GUESS)
        if most is not None:
            each = min(each, most)
        tokens = generations(plan) * each
        return max(1.0, tokens if limits.tokens is None else min(tokens, limits.tokens))

    def learn(self, plan: Plan, tokens: int) -> None:
        """Note what a request did cost."""
        found, kind = tokens / max(1, generations(plan)), (plan.model, type(plan.strategy))
        before = self._each.get(kind, found)
        self._each[kind] = before + SMOOTHING * (found - before)


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
