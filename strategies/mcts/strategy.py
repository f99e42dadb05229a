"""Monte Carlo tree search over reasoning steps.

Hao et al. 2023, Reasoning with Language Model is Planning with World Model (search over steps); Zhang et al.
2024, ReST-MCTS* (values from a process reward model); Chaslot et al. 2008, Parallel Monte-Carlo Tree Search
(virtual loss).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, Needs
from mull.strategies.mcts.search import Search
from mull.strategies.mcts.tree import Descent, Node, Rule, claims
from mull.strategies.steps import StepSearch, conclude, ranked
from mull.types import Answer, Candidate, Task


class MCTS(StepSearch):
    """Simulations that each walk down the tree to a leaf, expand it, and report what came of it upwards.

    A leaf gets `branch` next steps in one call, equal ones merged. A step is worth what the process verifier
    says of it, or what the verifier says of an answer finished from it (a rollout, from the most promising of
    the new steps), or a mix; a simulation reports the best new step. Finished answers are never continued, a
    step that cannot be continued either is worth nothing, and a subtree without anything to continue is
    closed. The search ends when the root is; with `min` and `product`, values from the process verifier and
    the final choice by score also when nothing open can overtake the finished answers. `parallel` simulations
    run at once, kept apart by virtual loss. If no answer has finished by then, the best partial one is.
    Cost: `branch` generated steps and scores a simulation, and with rollouts one of both more.
    """

    source: ClassVar[str] = (
        "Zhang et al. 2024, ReST-MCTS*: LLM Self-Training via Process Reward Guided Tree Search, "
        "https://arxiv.org/abs/2406.03816"
    )
    cost_model: ClassVar[str] = (
        "simulations * branch generations (of one step) and scores, simulations more of both with rollouts; "
        "one more of both where no answer has finished"
    )

    simulations: int = Field(32, ge=1, le=1024, description="How many leaves are expanded at most.")
    branch: int = Field(4, ge=1, le=64, description="How many next steps to sample from each.")
    parallel: int = Field(4, ge=1, le=64, description="How many simulations run at once.")
    rule: Rule = Field("puct", description="How a child is selected: PUCT, with priors, or UCT.")
    exploration: float = Field(
        0.25, ge=0, le=100, description="How much to try what has been tried little; 0 only exploits."
    )
    prior: Literal["uniform", "logprob", "process"] = Field(
        "uniform", description="Priors of PUCT: equal, the model's probabilities, or the verifier's scores."
    )
    value: Literal["process", "rollout", "both"] = Field(
        "process", description="Where values come from: scores of steps, of finished rollouts, or both."
    )
    mixing: float = Field(0.5, ge=0, le=1, description="Weight of the rollout where the value is from both.")
    final: Literal["score", "vote", "visits", "value"] = Field(
        "score",
        description="How to choose among finished answers: score, weighted vote, most visits, highest value.",
    )

    @property
    def needs(self) -> Needs:
        """A process verifier, unless whole answers are all that is judged."""
        steps = self.value != "rollout" or self.prior == "process"
        return Needs(verifier="process" if steps else "outcome", continues=True)

    def cost(self) -> Cost:
        """`simulations` expansions, their rollouts, and an answer finished at the end."""
        rollouts = 0 if self.value == "process" else self.simulations
        most = self.simulations * self.branch + rollouts + 1
        return Cost(generations=most, scores=most)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Simulate in batches of `parallel`; results are applied in order, whatever finishes first."""
        search = Search([await run.start()])
        left = self.simulations
        while ways := claims(search.tree, min(left, self.parallel), self.rule, self.exploration):
            left -= len(ways)
            if not await self._simulate(run, search, ways):
                break
            run.commit_prefix([c.text for c in (*search.ended, *search.partial)])
            bounded = self.final == "score" and self.value == "process"
            if bounded and self.settled(search.partial, search.ended, search.scores, task.n):
                break
        ended, partial = search.ended, search.partial
        if not any(c.complete for c in ended):
            ended += (finished := await self.finish(run, partial, search.scores))
            search.scores |= await self.judge(run, finished)
        ended = ended if any(c.complete for c in ended) else [*ended, *ranked(partial, search.scores)]
        if self.final == "score" or self.final == "vote":
            return await conclude(run, ended, search.scores, self.final)
        return search.preferring(await conclude(run, ended, search.scores), self.final)

    async def _simulate(self, run: Run, search: Search, ways: Sequence[Descent]) -> bool:
        """Expand, evaluate, report; False when the budget allowed nothing."""
        sampling = run.task.sampling
        if self.prior == "logprob":
            sampling = replace(sampling, logprobs=sampling.logprobs or 0)
        leaves = [search.paths[way.leaf] for way in ways]
        families = await self.grow(run, leaves, self.branch, sampling)
        children = [child for family in families for child in family]
        if not children:
            return False
        steps = self.needs.verifier == "process"
        judged = [c for c in children if c.complete or (steps and self._open(c))]
        if judged:
            search.scores |= await self.judge(run, judged)
        priors = [self._priors(leaf, family, search) for leaf, family in zip(leaves, families, strict=True)]
        if self.value != "process":
            await self._roll_out(run, search, families, priors)
        for way, family, shares in zip(ways, families, priors, strict=True):
            nodes = [self._node(c, share, search) for c, share in zip(family, shares, strict=True)]
            search.reply(way, family, nodes, run)
        return True

    async def _roll_out(
        self,
        run: Run,
        search: Search,
        families: Sequence[Sequence[Candidate]],
        priors: Sequence[Sequence[float]],
    ) -> None:
        """Have an answer finished from the most promising open step of each family, and judged."""
        origins = []
        for family, shares in zip(families, priors, strict=True):
            open_steps = [(c, share) for c, share in zip(family, shares, strict=True) if self._open(c)]
            if open_steps:
                origins.append(max(open_steps, key=lambda o: (search.scores.get(o[0].node, 0.0), o[1]))[0])
        finished = await run.expand(origins, kind="rollout")
        search.rollouts |= {o.node: f[0] for o, f in zip(origins, finished, strict=True) if f}
        judged = [f[0] for f in finished if f and f[0].complete]
        if judged:
            search.scores |= await self.judge(run, judged)

    def _open(self, step: Candidate) -> bool:
        return step.finish == "step" and len(step.steps) < self.depth

    def _node(self, step: Candidate, prior: float, search: Search) -> Node:
        value = self._value(step, search)
        return Node(prior=prior, visits=int(value is not None), total=value or 0.0, open=self._open(step))

    def _value(self, step: Candidate, search: Search) -> float | None:
        """What a new step is worth; None while nobody has said."""
        if step.complete:
            return search.scores.get(step.node)
        if not self._open(step):
            return 0.0
        judged = None if self.value == "rollout" else search.scores.get(step.node)
        rollout = search.rollouts.get(step.node)
        if rollout is None:
            return judged
        led_to = search.scores.get(rollout.node) if rollout.complete else 0.0
        if judged is None or led_to is None:
            return led_to if judged is None else judged
        return (1 - self.mixing) * judged + self.mixing * led_to

    def _priors(self, leaf: Candidate, family: Sequence[Candidate], search: Search) -> list[float]:
        """The children's shares of their parent's exploration."""
        if self.prior == "process":
            weights = [search.scores.get(c.node, 0.0) for c in family]
        elif self.prior == "logprob":
            weights = [math.exp(sum(t.logprob for t in c.logprobs[len(leaf.logprobs) :])) for c in family]
        else:
            weights = [1.0] * len(family)
        total = sum(weights)
        return [weight / total if total > 0 else 1 / len(family) for weight in weights]
