"""What one finished request adds to the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mull.run import Run
from mull.server.choose import Plan
from mull.server.metrics import Metrics
from mull.trace import Node

if TYPE_CHECKING:
    from mull.server.service import Solved


def count(metrics: Metrics, plan: Plan, run: Run, solved: Solved | None, status: int) -> None:
    """Count a request that is over; calls of verifiers are counted as they are made."""
    labels = plan.model, plan.name
    shown = 0 if solved is None else solved.shown_tokens
    hidden = max(0, run.usage.completion - shown)
    metrics.requests.labels(*labels, str(status)).inc()
    metrics.seconds.labels(*labels).observe(run.budget.seconds)
    metrics.tokens.labels(*labels, "answer").inc(shown)
    metrics.tokens.labels(*labels, "hidden").inc(hidden)
    metrics.prompt_tokens.labels(*labels, "computed").inc(max(0, run.usage.prompt - run.usage.cached))
    metrics.prompt_tokens.labels(*labels, "cached").inc(run.usage.cached)
    metrics.engine_calls.labels(*labels).inc(run.calls)
    if run.budget.exhausted is not None:
        metrics.exhausted.labels(*labels, run.budget.exhausted).inc()
    if solved is None:
        metrics.wasted.labels(*labels, "unanswered").inc(hidden)
        return
    aborted = sum(node.tokens for node in run.trace.nodes if node.kind == "cancelled")
    metrics.wasted.labels(*labels, "aborted").inc(min(hidden, aborted))
    metrics.stops.labels(*labels, metrics.reason(run.stopped)).inc()
    if solved.answer.confidence is not None:
        metrics.confidence.labels(*labels).observe(solved.answer.confidence)
    if solved.fallback is not None:
        metrics.fallbacks.labels(solved.fallback).inc()
    if (shape := shape_of(run.trace.nodes)) is not None:
        metrics.depth.labels(*labels).observe(shape[0])
        metrics.width.labels(*labels).observe(shape[1])


def shape_of(nodes: Sequence[Node]) -> tuple[int, int] | None:
    """How deep and how wide a search went, in generations; None where there was none."""
    depths: dict[int, int] = {}
    level: Counter[int] = Counter()
    for node in nodes:
        above = 0 if node.parent is None else depths[node.parent]
        generated = node.finish is not None
        depths[node.id] = above + generated
        if generated:
            level[above + 1] += 1
    return (max(level), max(level.values())) if level else None
