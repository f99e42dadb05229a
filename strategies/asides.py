"""How replies are sampled that are no answers: critiques, ratings, choices."""

from __future__ import annotations

from dataclasses import replace

from mull.types import Sampling


def aside(sampling: Sampling, *, temperature: float | None = None) -> Sampling:
    """The task's sampling without what shapes its answers alone: stop strings, the engine's own fields.

    A temperature given here takes the place of the task's; log-probabilities are not asked for.
    """
    told = sampling.temperature if temperature is None else temperature
    return replace(
        sampling, stop=(), step=None, logprobs=None, extra={}, temperature=told, form=sampling.form.aside
    )
