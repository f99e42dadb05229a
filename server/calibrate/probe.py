"""The cheap look at a problem that tells how hard it is: the same figures as `adaptive` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from mull.server.bench.outcomes import Sample
from mull.server.bench.spec import RunSpec

Signal = Literal["agreement", "confidence", "score"]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Some answers, and what is read from them."""

    signal: Signal = "agreement"
    samples: int = 4

    def run(self, sampling: Mapping[str, Any]) -> RunSpec:
        """The run that draws these answers and keeps what the signal needs."""
        more = {"n": self.samples, "logprobs": True} if self.signal == "confidence" else {}
        return RunSpec(
            strategy="best_of_n" if self.signal == "score" else "majority_vote",
            parameters={"n": self.samples},
            sampling={**sampling, **more},
        )

    def read(self, samples: Sequence[Sample]) -> float:
        """The signal, from 0 to 1; larger means easier.

        `agreement` is the share of the most frequent answer, where a sample without one counts as another;
        `confidence` the mean of the samples' geometric mean token probabilities, `score` of their scores.
        """
        if not samples:
            return 0.0
        if self.signal == "agreement":
            votes = Counter(sample.answer for sample in samples if sample.answer is not None)
            return max(votes.values(), default=0) / len(samples)
        if self.signal == "confidence":
            return fmean(sample.confidence or 0.0 for sample in samples)
        return fmean([sample.score for sample in samples if sample.score is not None] or [0.0])
