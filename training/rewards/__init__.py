"""Rewards of reinforcement: a recipe's section `rewards`, and the functions that TRL calls.

Import light: what needs torch or TRL is imported when the functions are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mull.training.rewards.config import Concise, Correct, Format, Length, Orm, Prm, Repetition, Reward

if TYPE_CHECKING:
    from mull.training.rewards.functions import RewardFunction

__all__ = [
    "Concise",
    "Correct",
    "Format",
    "Length",
    "Orm",
    "Prm",
    "Repetition",
    "Reward",
    "build",
    "close",
]


def build(configs: Sequence[Reward], tokenizer: Any) -> tuple[list[RewardFunction], list[float]]:
    """Reward functions, with names that differ, and their weights, for `reward_funcs` and `reward_weights`.

    Args:
        configs: What is rewarded.
        tokenizer: The policy's.

    Raises:
        TrainingError: a reward model cannot be loaded.
    """
    from mull.training.rewards.functions import Context
    from mull.training.rewards.truth import Truth

    context = Context(tokenizer, Truth())
    functions: list[RewardFunction] = []
    try:
        functions.extend(config.make(context) for config in configs)
    except BaseException:
        close(functions)
        context.truth.close()
        raise
    seen = Counter[str]()
    for function in functions:
        kind = function.__name__
        seen[kind] += 1
        if seen[kind] > 1:
            function.__name__ = f"{kind}_{seen[kind]}"
    return functions, [config.weight for config in configs]


def close(functions: Iterable[RewardFunction]) -> None:
    """End the processes and threads of reward functions; they must not be called afterwards."""
    for function in functions:
        function.close()
