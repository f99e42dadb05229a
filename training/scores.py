"""A verifier's scores of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mull.training.data.rows import Rollout
from mull.training.recipes.base import Recipe
from mull.training.recipes.process import Prm as PrmRecipe
from mull.training.rewards import Orm, Prm, build, close
from mull.training.rollouts import messages


def score(rollouts: Sequence[Rollout], policy: str, verifier: Recipe, model: Path) -> list[Rollout]:
    """The rollouts, each sample with its score from 0 to 1: an ORM's, or the least step's of a PRM.

    Args:
        rollouts: Samples.
        policy: Folder or name of the model that drew them, for its tokenizer.
        verifier: The recipe that the verifier was trained by.
        model: Its folder.

    Raises:
        TrainingError: the verifier cannot be loaded.
    """
    from transformers import AutoTokenizer

    config = (
        Prm(kind="prm", model=str(model), delimiter=verifier.delimiter)
        if isinstance(verifier, PrmRecipe)
        else Orm(kind="orm", model=str(model))
    )
    tokenizer = AutoTokenizer.from_pretrained(policy)
    samples = [(rollout, sample) for rollout in rollouts for sample in rollout.samples]
    functions, _ = build([config], tokenizer)
    try:
        found = iter(
            functions[0](
                prompts=[messages(rollout.prompt) for rollout, _ in samples],
                completions=[[{"role": "assistant", "content": sample.text}] for _, sample in samples],
                # Rollouts keep no ids: the last alone says whether the sample came to its end.
                completion_ids=[
                    [tokenizer.eos_token_id] if sample.finish == "stop" else [] for _, sample in samples
                ],
            )
        )
    finally:
        close(functions)
    return [
        rollout.model_copy(
            update={"samples": [s.model_copy(update={"score": next(found)}) for s in rollout.samples]}
        )
        for rollout in rollouts
    ]
