"""Branching where the model is unsure of the next token.

Li et al. 2025, Entropy-Gated Branching for Efficient Test-Time Reasoning.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.ranking import by_score, by_votes, read, with_scores
from mull.strategies.tokens import options, turned, watched
from mull.types import Aggregation, Answer, Candidate, Task, TokenLogprob

_SEEN = 20
"""Alternatives that the entropy is estimated from: as many as engines commonly report."""


class EntropyBranching(StrategyModel):
    """Follows one answer, and branches where the entropy of the next token exceeds `threshold`.

    There it goes on with the `branch` most likely tokens, until there are `n` answers; where the model is
    sure of itself it costs no more than a single answer. The entropy is that of the 20 most likely tokens,
    the rest taken as one more.
    Cost: at most `n` answers, which share what comes before they part, in calls of `span` tokens.
    """

    continues: ClassVar[bool] = True

    source: ClassVar[str] = (
        "Li et al. 2025, Entropy-Gated Branching for Efficient Test-Time Reasoning, "
        "https://arxiv.org/abs/2503.21961"
    )
    cost_model: ClassVar[str] = (
        "n * (reach / span + 1) generations (of span tokens) at most, n answers together; n scores unless "
        "answers vote"
    )

    n: int = Field(8, ge=1, le=256, description="How many answers at most.")
    branch: int = Field(2, ge=2, le=20, description="How many tokens to go on with at an uncertain place.")
    threshold: float = Field(
        0.7, ge=0, le=20, description="Entropy, in nats, above which a place is uncertain."
    )
    span: int = Field(32, ge=1, le=4096, description="How many tokens are generated before looking for one.")
    reach: int = Field(512, ge=1, le=65536, description="Branch within so many tokens from the start.")
    final: Literal["vote", "score", "weighted"] = Field(
        "vote", description="How to choose an answer: by vote, by score, or by vote weighted with scores."
    )
    aggregate: Aggregation = Field("min", description="How a process verifier's step scores become one.")

    @property
    def needs(self) -> Needs:
        """Known end tokens, and a verifier unless answers vote."""
        return Needs(verifier=None if self.final == "vote" else "outcome", continues=True, ends=True)

    def cost(self) -> Cost:
        """`n` answers in spans as far as they may branch, then in one call."""
        calls = self.n * (-(-self.reach // self.span) + 1)
        return Cost(generations=calls, scores=0 if self.final == "vote" else self.n)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Generate span by span, branch, choose."""
        live, ended, stuck = [await run.start()], list[Candidate](), list[Candidate]()
        while live:
            room = self.n - len(live) - len(ended)
            families = await run.together([self._further(run, path, room) for path in live])
            grown = [(path, family[0]) for path, family in zip(live, families, strict=True) if family]
            stuck = [path for path, family in zip(live, families, strict=True) if not family]
            if not grown:
                break
            turns = self._turns(run, grown, room)
            live = [c for c in (*(c for _, c in grown), *stuck, *turns) if c.finish in (None, "step")]
            ended += [c for c in (*(c for _, c in grown), *turns) if c.finish in ("stop", "length")]
            run.commit_prefix([c.text for c in (*live, *ended)])
        found = [*ended, *(path for path in stuck if path.steps)]
        choices = await read(run, found)
        if self.final == "vote":
            return by_votes(choices, [1.0] * len(choices))
        choices = with_scores(choices, await run.score(found, self.aggregate), self.aggregate)
        if self.final == "score":
            return by_score(choices)
        return by_votes(choices, [choice.score or 0.0 for choice in choices])

    async def _further(self, run: Run, path: Candidate, room: int) -> list[Candidate]:
        """A span more of an answer; all that is left of it where it cannot branch any more."""
        if room <= 0 or path.tokens >= self.reach:
            return await run.collect(path)
        span = min(self.span, self.reach - path.tokens)
        return await run.collect(path, span=span, sampling=watched(run.task.sampling, _SEEN), kind="span")

    def _turns(self, run: Run, grown: list[tuple[Candidate, Candidate]], room: int) -> list[Candidate]:
        """The other ways to go on at uncertain places, as many as there is room for, the earliest first."""
        places = []
        for number, (origin, path) in enumerate(grown):
            sampled = path.logprobs[len(origin.logprobs) :]
            if room > 0 and origin.tokens < self.reach:
                unsure = [k for k, token in enumerate(sampled) if entropy(token) > self.threshold]
                places += [(origin.tokens + k, number, k) for k in unsure]
        turns: list[Candidate] = []
        for _, number, k in sorted(places):
            origin, path = grown[number]
            sampled = path.logprobs[len(origin.logprobs) :]
            head, at = sampled[:k], sampled[k]
            # Pieces of a character have no text of their own: there one cannot part.
            if not path.text.startswith(origin.text + "".join(token.token for token in head)):
                continue
            others = [option for option in options(at)[: self.branch] if option[1] != at.id]
            turns += [
                turned(run, origin, head, at, option, entropy=round(entropy(at), 4))
                for option in others[: min(self.branch - 1, room - len(turns))]
            ]
        return turns


def entropy(token: TokenLogprob) -> float:
    """Entropy in nats of what could have come here: of the alternatives known, and the rest as one more."""
    known = [min(1.0, math.exp(logprob)) for _, _, logprob in token.top]
    rest = max(0.0, 1 - math.fsum(known))
    return -math.fsum(p * math.log(p) for p in (*known, rest) if p > 0)
