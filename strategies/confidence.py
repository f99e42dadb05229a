"""Votes weighted by how sure the model was of its own words, and the unsure ones left out or cut short.

Fu et al. 2025, Deep Think with Confidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.certainty import Measure, certainty
from mull.strategies.ranking import by_votes, read
from mull.types import Answer, Candidate, Choice, Sampling, Task


class Confidence(StrategyModel):
    """Lets each answer vote with the model's certainty of its tokens, the least certain answers not at all.

    `offline` samples `n` answers and lets the most certain `keep` of those that can be read vote. `online`
    draws `warmup` answers, takes as its threshold the certainty that `keep` of them reach in their least
    certain window, and writes the others in spans: one that falls below the threshold is stopped and does
    not vote. Whole batches decide whether the leading answer has the share `consensus` of all votes, which
    ends the sampling. A candidate's score is its certainty relative to the highest one.
    Cost: `n` generations; online `n - warmup` of them in up to `checks + 1` parts, fewer where some are
    stopped or all agree.
    """

    source: ClassVar[str] = "Fu et al. 2025, Deep Think with Confidence, https://arxiv.org/abs/2508.15260"
    cost_model: ClassVar[str] = (
        "n generations; online at most warmup, and n - warmup more in parts of span tokens"
    )

    mode: Literal["offline", "online"] = Field("offline", description="Filter afterwards, or stop meanwhile.")
    n: int = Field(32, ge=1, le=1024, description="How many answers to sample at most.")
    keep: float = Field(0.9, gt=0, le=1, description="Share of the most certain answers that may vote.")
    measure: Measure = Field(
        "bottom",
        description=(
            "What an answer's certainty is: that of its least certain window, of the least certain tenth of "
            "its windows, of its last window, or of all its tokens."
        ),
    )
    window: int = Field(32, ge=1, le=65536, description="Tokens of a window.")
    top: int = Field(20, ge=1, le=20, description="Most likely tokens whose log-probabilities count.")
    warmup: int = Field(16, ge=1, le=1024, description="Online: answers that set the threshold.")
    batch: int = Field(8, ge=1, le=256, description="Online: answers written side by side.")
    span: int = Field(32, ge=1, le=65536, description="Online: tokens between two checks of an answer.")
    checks: int = Field(64, ge=1, le=4096, description="Online: how often an answer is checked at most.")
    consensus: float = Field(
        0.95, gt=0.5, le=1, description="Online: share of the votes at which the leading answer is final."
    )

    @property
    def needs(self) -> Needs:
        """Online, an engine that continues a partial answer."""
        return Needs(continues=self.mode == "online")

    def cost(self) -> Cost:
        """`n` generations, online those after the warm-up in parts."""
        whole = self.n if self.mode == "offline" else min(self.n, self.warmup)
        return Cost(generations=whole + (self.n - whole) * (self.checks + 1))

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, measure, filter, vote."""
        sampling = replace(task.sampling, logprobs=max(self.top, task.sampling.logprobs or 0))
        return await (self._offline if self.mode == "offline" else self._online)(run, sampling)

    async def _offline(self, run: Run, sampling: Sampling) -> Answer:
        choices = await read(run, await run.collect(await run.start(), n=self.n, sampling=sampling))
        readable = [i for i, c in enumerate(choices) if c.answer is not None]
        ranked = sorted(readable, key=lambda i: -certainty(choices[i].candidate, self.measure, self.window))
        return self._vote(choices, ranked[: math.ceil(self.keep * len(ranked))], run)

    async def _online(self, run: Run, sampling: Sampling) -> Answer:
        root = await run.start()
        traces = await run.collect(root, n=min(self.n, self.warmup), sampling=sampling)
        threshold = self._threshold(traces)
        answer = await self._poll(traces, threshold, run)
        run.mark("threshold", value=threshold)
        while len(traces) < self.n:
            if (answer.confidence or 0.0) >= self.consensus:
                run.stop("consensus")
                break
            wanted = min(self.batch, self.n - len(traces))
            drawn = await self._write(root, wanted, threshold, sampling, run)
            traces += drawn
            answer = await self._poll(traces, threshold, run)
            if len(drawn) < wanted:
                break
        return answer

    def _threshold(self, warmup: Sequence[Candidate]) -> float:
        """The certainty that `keep` of the warm-up reach in their least certain window."""
        lows = sorted(certainty(c, "lowest", self.window) for c in warmup)
        below = math.floor((1 - self.keep) * len(lows) + 1e-9)
        return lows[min(below, len(lows) - 1)] if lows else 0.0

    async def _write(
        self, root: Candidate, n: int, threshold: float, sampling: Sampling, run: Run
    ) -> list[Candidate]:
        """`n` answers in spans; those that fall below the threshold stay unfinished."""
        traces = await run.collect(root, n=n, span=self.span, sampling=sampling, kind="part")
        for check in range(1, self.checks + 1):
            live = [i for i, c in enumerate(traces) if self._goes_on(c, threshold, run)]
            if not live:
                break
            span = self.span if check < self.checks else None
            grown = await run.expand([traces[i] for i in live], span=span, sampling=sampling)
            for i, more in zip(live, grown, strict=True):
                traces[i] = more[0] if more else traces[i]
            if not all(grown):
                break
        return traces

    def _goes_on(self, trace: Candidate, threshold: float, run: Run) -> bool:
        if trace.finish != "step":
            return False
        if len(trace.logprobs) < self.window or certainty(trace, "lowest", self.window) >= threshold:
            return True
        run.trace.annotate(trace.node, pruned=True)
        return False

    async def _poll(self, traces: Sequence[Candidate], threshold: float, run: Run) -> Answer:
        """The vote of all that can be read and reach the threshold; of all that can be read if none does."""
        choices = await read(run, traces)
        readable = [i for i, c in enumerate(choices) if c.answer is not None]
        sure = [i for i in readable if certainty(choices[i].candidate, "lowest", self.window) >= threshold]
        return self._vote(choices, sure or readable, run)

    def _vote(self, choices: Sequence[Choice], voters: Sequence[int], run: Run) -> Answer:
        """A vote weighted by certainty, the highest being worth 1."""
        sure = [certainty(c.candidate, self.measure, self.window) for c in choices]
        for choice, value in zip(choices, sure, strict=True):
            run.trace.annotate(choice.candidate.node, certainty=value)
        most, voting = max((sure[i] for i in voters), default=0.0), set(voters)
        relative = [min(1.0, value / most) if most else 1.0 for value in sure]
        rated = [replace(c, score=score) for c, score in zip(choices, relative, strict=True)]
        return by_votes(rated, [score if i in voting else 0.0 for i, score in enumerate(relative)])
