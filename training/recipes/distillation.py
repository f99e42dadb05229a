"""Learning from a teacher: a larger model, or one that searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mull.training.data.kinds import Order
from mull.training.data.problems import load
from mull.training.errors import TrainingError
from mull.training.recipes.base import Kind, Recipe, Section
from mull.training.recipes.sft import Supervised

if TYPE_CHECKING:
    from mull.training.job import Job


class Answers(Section):
    """Which of the teacher's answers are learned."""

    each: int = Field(4, ge=1, description="Answers of a problem at most.")
    order: Order = "random"
    right: bool = Field(True, description="Only right ones; false learns all, without reference answers.")


class Distill(Supervised):
    """Sequence-level distillation (Kim and Rush 2016, arXiv:1606.07947): learns the teacher's answers.

    The teacher is the model `teacher`, a server (`rollouts.url`, where `rollouts.ttc` lets mull search), or
    whoever wrote the samples of `rollouts.file`.
    """

    recipe: Literal["distill"]
    needs_rollouts: ClassVar[bool] = True
    teacher: str | None = Field(None, min_length=1, description="Folder or Hugging Face name.")
    answers: Answers = Field(default_factory=Answers)

    @model_validator(mode="after")
    def _one_teacher(self) -> Distill:
        r = self.rollouts
        teachers = [self.teacher, r and r.url, r and r.file]
        if self.problems is not None and sum(t is not None for t in teachers) != 1:
            raise ValueError("give one teacher: `teacher`, a model, or `rollouts.url`, or `rollouts.file`")
        return self

    def make(self, job: Job) -> list[dict[str, Any]]:
        """The teacher's answers, distinct ones.

        Raises:
            TrainingError: the teacher does not answer.
        """
        from mull.training.data.select import select

        assert self.problems is not None
        rollouts = job.sample(load(self.problems), "teacher", model=self.teacher)
        a = self.answers
        rows = select(rollouts, each=a.each, order=a.order, right=a.right, seed=self.seed)
        return [row.model_dump(exclude_none=True) for row in rows]


class DistillLogits(Recipe):
    """On-policy distillation (Agarwal et al. 2024, arXiv:2306.13649): the teacher corrects the student.

    Every next-token distribution in the student's own answers is drawn towards the teacher's, which must have
    the same vocabulary. `options.beta` goes from forward (0) to reverse (1) Kullback-Leibler divergence.
    """

    recipe: Literal["distill_logits"]
    kind: ClassVar[Kind] = "grpo"
    teacher: str = Field(min_length=1, description="Folder or Hugging Face name.")
    max_tokens: int = Field(200, ge=1, description="Tokens of an answer of the student.")

    def make(self, job: Job) -> list[dict[str, Any]]:
        """The problems' prompts; the answers are written while it trains."""
        assert self.problems is not None
        return [
            {"prompt": [m.model_dump() for m in p.prompt], "answer": p.answer, "problem": p.id}
            for p in load(self.problems)
        ]

    @model_validator(mode="after")
    def _adapted_weights(self) -> DistillLogits:
        if self.peft is not None and not self.peft.mergeable:
            raise ValueError(f"peft.kind: {self.peft.kind} has no effect on this loss; lora has")
        return self

    def trainer(self, job: Job) -> Any:
        """TRL's `DistillationTrainer`.

        Raises:
            TrainingError: the teacher's tokenizer is not that of the model.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import DistillationConfig, DistillationTrainer

        if AutoTokenizer.from_pretrained(self.teacher).get_vocab() != job.tokenizer.get_vocab():
            raise TrainingError(
                f"teacher: {self.teacher} has another vocabulary than {self.model}; "
                "the recipe distill learns from any teacher",
                param="teacher",
            )
        teacher = AutoModelForCausalLM.from_pretrained(
            self.teacher, dtype=torch.bfloat16, attn_implementation=job.model.config._attn_implementation
        )
        args = job.arguments(DistillationConfig, max_completion_length=self.max_tokens)
        return DistillationTrainer(teacher_model=teacher, args=args, **job.parts)
