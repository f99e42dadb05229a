"""Searches among given answers with given scores."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mull.protocols import Strategy
from mull.testing import ScriptedGenerator, Trial, World
from mull.types import Answer, Candidate, Sampling, Score, Task, VerifierKind

WORLD = World()


class Rates:
    """A process verifier with a score for each line; `scored` are the texts that it was given."""

    name = "rates"
    kind: VerifierKind = "process"

    def __init__(self, rates: dict[str, float], otherwise: float = 0.5) -> None:
        self.rates, self.otherwise = rates, otherwise
        self.scored: list[str] = []

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        self.scored += [c.text for c in candidates]
        lines = [c.text.splitlines() or [""] for c in candidates]
        steps = [tuple(self.rates.get(line.strip(), self.otherwise) for line in each) for each in lines]
        return [Score(value=min(s), steps=s) for s in steps]


def depths(trial: Trial) -> list[int]:
    """How many levels each node is below the root."""
    levels = [0]
    for node in trial.run.trace.nodes[1:]:
        levels.append(levels[node.parent or 0] + 1)
    return levels


def script_of(paths: Sequence[str]) -> Any:
    """A model that continues each prefix with the answers that begin so, in turn; greedily with the first."""
    turns: Counter[str] = Counter()

    def script(text: str, rng: random.Random, sampling: Sampling) -> str:
        fitting = list(dict.fromkeys(p for p in paths if p.startswith(text)))
        turns[text] += sampling.temperature != 0
        # Prefer different next steps over different endings.
        nexts = list(dict.fromkeys(p[len(text) :].split("\n")[0] for p in fitting))
        chosen = nexts[max(0, turns[text] - 1) % len(nexts)]
        return next(p[len(text) :] for p in fitting if p[len(text) :].split("\n")[0] == chosen)

    return script


async def search(
    strategy: Strategy,
    paths: Sequence[str],
    rates: dict[str, float],
    *,
    max_tokens: int = 200,
    **options: Any,
) -> tuple[Answer, Trial]:
    """Search among these answers, whose steps have these scores."""
    trial = Trial(
        strategy,
        WORLD,
        task=WORLD.task(max_tokens=max_tokens, n=options.pop("n", 1)),
        generator=ScriptedGenerator(script_of(paths)),
        verifier=Rates(rates),
        **options,
    )
    return await trial.solve(), trial


def texts(trial: Trial, **marks: Any) -> list[str]:
    """The texts of the trace's nodes whose data have these marks."""
    return [n.text for n in trial.run.trace.nodes if all(n.data.get(k) == v for k, v in marks.items())]
