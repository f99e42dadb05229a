"""Guards of a training: against hacking the reward, and against forgetting earlier tasks. Import light."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mull.training.guards.config import Forgetting, Guards, Hacking

if TYPE_CHECKING:
    from mull.training.rewards.functions import RewardFunction

__all__ = ["Forgetting", "Guards", "Hacking", "attach"]


def attach(
    trainer: Any, guards: Guards, functions: Sequence[RewardFunction] = (), weights: Sequence[float] = ()
) -> None:
    """Add the guards to a trainer; figures go to its log and to `guards/` beside its checkpoints.

    Args:
        trainer: A `transformers.Trainer` of a language model.
        guards: Which, and how strict.
        functions: The rewards that are optimised, for the guard against hacking.
        weights: Their weights.

    Raises:
        TrainingError: the problems cannot be read, lack answers or are trained on; there is no
            reward to guard, or no language model.
    """
    from functools import partial

    from transformers import Trainer

    from mull.training.data.problems import load
    from mull.training.errors import TrainingError
    from mull.training.guards.forgetting import ForgettingGuard
    from mull.training.guards.hacking import RewardHackingGuard
    from mull.training.guards.proxy import proxy
    from mull.training.rollouts import messages

    if not callable(getattr(trainer.model, "generate", None)):
        raise TrainingError("guards are for recipes of language models", param="guards")
    settings: dict[str, Any] = {
        "tokenizer": trainer.processing_class,
        "folder": Path(trainer.args.output_dir).parent / "guards",
        # TRL's own `log` would report, and clear, the averages of half an interval.
        "log": partial(Trainer.log, trainer),
    }
    if guards.hacking is not None:
        if not functions:
            raise TrainingError("guards.hacking: this recipe optimises no reward", param="guards.hacking")
        problems = load(guards.hacking.problems)
        seen = {json.dumps(prompt) for prompt in trainer.train_dataset["prompt"]}
        if known := [p.id for p in problems if json.dumps(messages(p.prompt)) in seen]:
            raise TrainingError(
                f"guards.hacking.problems: {len(known)} are in the training data, {known[0]} for one",
                param="guards.hacking.problems",
            )
        trainer.add_callback(
            RewardHackingGuard(guards.hacking, problems, proxy(functions, weights), **settings)
        )
    if guards.forgetting is not None:
        tasks = {name: load(source) for name, source in guards.forgetting.tasks.items()}
        trainer.add_callback(ForgettingGuard(guards.forgetting, tasks, **settings))
