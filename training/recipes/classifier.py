"""What the recipes of networks that judge share: whose samples they judge, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mull.training.data.problems import load
from mull.training.data.rows import Problem, Rollout
from mull.training.recipes.base import Recipe

if TYPE_CHECKING:
    from mull.training.job import Job
    from mull.training.verifier_inputs import Messages
    from mull.verifiers.reading import Passage, Reading


class Classifier(Recipe):
    """A recipe whose network has a score head instead of a language model's."""

    policy: str | None = Field(None, description="Model whose samples are judged; `model` by default.")

    @property
    def samples(self) -> bool:
        return True

    def sampled(self, job: Job) -> tuple[list[Problem], list[Rollout]]:
        """The policy's samples of the problems to learn from."""
        assert self.problems is not None
        problems = load(self.problems)
        return problems, job.sample(problems, "samples", model=self.policy)

    def held_out(self, job: Job) -> tuple[list[Problem], list[Rollout]]:
        """The policy's samples of the problems of `evaluation`; nothing without such a section."""
        if self.evaluation is None or not self.evaluation.samples:
            return [], []
        problems = load(self.evaluation.problems)
        how = self.evaluation.rollouts
        return problems, job.sample(problems, "held-out", rollouts=how, model=self.policy)

    def read(
        self, job: Job, rows: Sequence[tuple[Messages, Passage]], limit: int | None = None
    ) -> list[Reading]:
        """Token ids of prompts and answers, as they will be served; of `training.max_length` or `limit`.

        Raises:
            TrainingError: a row is too long, or cannot be rendered.
        """
        from mull.training.verifier_inputs import read

        longest = limit or self.training.max_length or self.context(job)
        return read(job.tokenizer, rows, longest)

    def context(self, job: Job) -> int:
        """Tokens that the network can read."""
        return int(job.model.config.max_position_embeddings)

    def train_on(self, job: Job, rows: Sequence[Mapping[str, Any]], loss: Callable[..., Any]) -> Any:
        """A plain trainer of rows of `input_ids` and `labels`."""
        from datasets import Dataset
        from peft import get_peft_model
        from transformers import Trainer, TrainingArguments

        from mull.training.verifier_inputs import Padded, padding

        pad = job.model.config.pad_token_id = padding(job.tokenizer)
        return Trainer(
            model=job.model if job.adapter is None else get_peft_model(job.model, job.adapter),
            args=job.arguments(TrainingArguments, train_sampling_strategy="group_by_length"),
            train_dataset=Dataset.from_list(list(rows)),
            data_collator=Padded(pad),
            processing_class=job.tokenizer,
            callbacks=job.callbacks,
            compute_loss_func=loss,
        )
