"""What a Monte Carlo search has found so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mull.run import Run
from mull.strategies.mcts.tree import Descent, Node, Tree, ancestry, backup, expand, favourites
from mull.types import Answer, Candidate


@dataclass
class Search:
    """The tree with the texts of its nodes, the rollouts, and all scores."""

    paths: list[Candidate]
    """The partial answer of each node; at first the root's alone."""
    tree: Tree = (Node(),)
    rollouts: dict[int, Candidate] = field(default_factory=dict)
    """Answers finished in one go, by the trace node that they began from."""
    scores: dict[int, float] = field(default_factory=dict)
    """By trace node."""

    @property
    def partial(self) -> list[Candidate]:
        """What has steps, has not ended and is not continued in the tree."""
        return [
            path
            for path, node in zip(self.paths, self.tree, strict=True)
            if path.finish == "step" and not node.children
        ]

    @property
    def ended(self) -> list[Candidate]:
        """What has ended, of itself or cut off."""
        return [*(path for path in self.paths if path.finish in ("stop", "length")), *self.rollouts.values()]

    def reply(self, descent: Descent, family: Sequence[Candidate], nodes: Sequence[Node], run: Run) -> None:
        """Put the steps that a simulation has sampled into the tree and report the best of them upwards."""
        best = max((node.mean for node in nodes if node.mean is not None), default=0.0)
        self.tree = backup(expand(self.tree, descent.leaf, nodes), descent, best)
        self.paths += family
        for at in (*ancestry(self.tree, descent.leaf), *descent.passed):
            node = self.tree[at]
            run.trace.annotate(self.paths[at].node, visits=node.visits, value=round(node.mean or 0.0, 4))

    def preferring(self, answer: Answer, final: Literal["visits", "value"]) -> Answer:
        """The answer with the choice first that the tree leads to."""
        answers = {
            at: ended.node
            for at, path in enumerate(self.paths)
            if (ended := path if path.complete else self.rollouts.get(path.node)) and ended.complete
        }

        def merit(node: Node) -> tuple[float, float]:
            mean = node.mean or 0.0
            return (node.visits, mean) if final == "visits" else (mean, node.visits)

        way = favourites(self.tree, answers, merit)
        if not way:
            return answer
        # A rollout stands at the step that it began from, so that several answers can lie on the way.
        found = [answers[at] for at in way if at in answers]
        chosen = next(c for c in answer.choices if c.candidate.node in found)
        others = (c for c in answer.choices if c is not chosen)
        return replace(answer, choices=(chosen, *others), confidence=chosen.score)
