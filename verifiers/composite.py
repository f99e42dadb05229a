"""Verifiers made of verifiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from mull.protocols import Verifier
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.concurrency import together

How = Literal["product", "mean"]


class CompositeVerifier:
    """The product, or the weighted mean, of what other verifiers say.

    It judges steps if all its parts do; each step is then combined on its own. Where a part has no step
    scores for an answer (too long for it, say), only the values are combined. Values are combined as they
    are: a product of minima is not the minimum of the products.

    Args:
        name: The verifier's name.
        parts: What it is made of.
        how: Product, or weighted mean.
        weights: One a part, not negative, not all 0; for a product they are exponents. Equal by default.

    Raises:
        ValueError: no parts, or weights that do not fit.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[Verifier],
        *,
        how: How = "product",
        weights: Sequence[float] | None = None,
    ) -> None:
        if not parts:
            raise ValueError("a composite verifier needs parts")
        if alone := [part.name for part in parts if part.kind == "difficulty"]:
            raise ValueError(f"{alone[0]} judges questions, not answers: it cannot be a part of a composite")
        if weights is not None and (len(weights) != len(parts) or min(weights) < 0 or not any(weights)):
            raise ValueError("a composite verifier needs one weight a part, not negative, not all 0")
        self.name = name
        self.kind: VerifierKind = "process" if all(p.kind == "process" for p in parts) else "outcome"
        self._parts = tuple(parts)
        self._weights = tuple(weights) if weights is not None else (1.0,) * len(parts)
        self._combine: Callable[[Sequence[float]], float] = self._product if how == "product" else self._mean

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order.

        Raises:
            VerifierUnavailable: a part died or does not answer; it is named.
        """
        views = await together(part.score(task, candidates) for part in self._parts)
        return [self._merge(scores) for scores in zip(*views, strict=True)]

    def _merge(self, scores: Sequence[Score]) -> Score:
        steps: tuple[float, ...] = ()
        if self.kind == "process" and len({len(score.steps) for score in scores}) == 1:
            steps = tuple(
                self._combine(of_step) for of_step in zip(*(score.steps for score in scores), strict=True)
            )
        return Score(
            value=self._combine([score.value for score in scores]),
            steps=steps,
            tokens=sum(score.tokens for score in scores),
            known=all(score.known for score in scores),
        )

    def _product(self, values: Sequence[float]) -> float:
        return math.prod(math.pow(v, w) for v, w in zip(values, self._weights, strict=True))

    def _mean(self, values: Sequence[float]) -> float:
        weighted = math.fsum(v * w for v, w in zip(values, self._weights, strict=True))
        return weighted / math.fsum(self._weights)
