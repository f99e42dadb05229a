"""The reward that is optimised, asked of answers to held-out problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mull.training.data.rows import Problem
from mull.training.guards.greedy import Greedy
from mull.training.rewards.functions import RewardFunction
from mull.training.rollouts import messages


def proxy(
    functions: Sequence[RewardFunction], weights: Sequence[float]
) -> Callable[[Sequence[Problem], Sequence[Greedy]], list[float]]:
    """The weighted sum of rewards, as the trainer makes it.

    Rewards relative to a group (`concise`) are 0 for single answers.
    """

    def reward(problems: Sequence[Problem], answers: Sequence[Greedy]) -> list[float]:
        parts = [
            function(
                prompts=[messages(p.prompt) for p in problems],
                completions=[[{"role": "assistant", "content": a.text}] for a in answers],
                completion_ids=[a.ids for a in answers],
                answer=[p.answer for p in problems],
            )
            for function in functions
        ]
        return [
            sum(w * v for w, v in zip(weights, values, strict=True)) for values in zip(*parts, strict=True)
        ]

    return reward
