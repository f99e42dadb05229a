"""What came out of a round of the recipe `iterate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mull.training.data.rows import Rollout
from mull.training.statistics import Figure, mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came out of a round; number 0 is the policy at the start."""

    number: int
    policy: str
    accuracy: Figure
    """Greedy, on the held-out problems."""
    verifier: str | None = None
    right: float | None = None
    """Share of the samples to learn from that are right: the true reward of the policy before the round."""
    score: float | None = None
    """Mean score of the same samples: the proxy."""
    chosen: int = 0
    """How many of them count as right."""
    chosen_right: float | None = None
    """Share of those that are."""


def line(found: Round) -> str:
    """A round in one line."""
    parts = [f"round {found.number}: held-out accuracy {found.accuracy}"]
    if found.right is not None:
        parts.append(f"samples right {found.right:.3f}")
    if found.score is not None:
        parts.append(f"score {found.score:.3f}")
    if found.chosen_right is not None:
        parts.append(f"chosen {found.chosen}, of which right {found.chosen_right:.3f}")
    return ", ".join(parts)


def tally(judged: Sequence[Rollout], chosen: Sequence[Rollout]) -> dict[str, Any]:
    """Figures of the samples: what is true of them, against what they count as."""
    pairs = [
        (sample, counted)
        for rollout, other in zip(judged, chosen, strict=True)
        for sample, counted in zip(rollout.samples, other.samples, strict=True)
    ]
    truths = [s.right for s, _ in pairs if s.right is not None]
    kept = [s.right for s, counted in pairs if counted.right and s.right is not None]
    scores = [s.score for s, _ in pairs if s.score is not None]
    return {
        "right": mean(truths) if truths else None,
        "score": mean(scores) if scores else None,
        "chosen": sum(bool(counted.right) for _, counted in pairs),
        "chosen_right": mean(kept) if kept else None,
    }
