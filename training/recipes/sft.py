"""Supervised fine-tuning: on given demonstrations, or on the model's own samples that were right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mull.training.data.kinds import Order
from mull.training.data.problems import load
from mull.training.data.rows import Rollout
from mull.training.data.select import HINT, hinted, rationalised, select
from mull.training.errors import TrainingError
from mull.training.recipes.base import Kind, Recipe, Section
from mull.training.rollouts import Rollouts

if TYPE_CHECKING:
    from mull.training.job import Job


class Supervised(Recipe):
    """What the supervised recipes share: TRL's trainer on `sft` rows."""

    kind: ClassVar[Kind] = "sft"

    def trainer(self, job: Job) -> Any:
        """TRL's `SFTTrainer`; only what the assistant says is learned."""
        from trl import SFTConfig, SFTTrainer

        dialogue = "messages" in job.dataset.column_names
        args = job.arguments(
            SFTConfig,
            max_length=self.training.max_length,
            completion_only_loss=None if dialogue else True,
            assistant_only_loss=dialogue,
        )
        return SFTTrainer(args=args, **job.parts)


class Sft(Supervised):
    """Learns given rows: single answers, chains of thought, instructions, or dialogues."""

    recipe: Literal["sft"]

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Reference solutions of the problems: their `steps` as one answer.

        Raises:
            TrainingError: a problem has no steps.
        """
        assert self.problems is not None
        rows = []
        for problem in load(self.problems):
            if not problem.steps:
                raise TrainingError(f"problem {problem.id} has no `steps` to learn", param="problems")
            prompt = [m.model_dump() for m in problem.prompt]
            answer = {"role": "assistant", "content": "\n".join(problem.steps)}
            rows.append({"prompt": prompt, "completion": [answer], "problem": problem.id})
        return rows


class Select(Section):
    """Which right samples are learned."""

    each: int = Field(4, ge=1, description="Samples of a problem at most.")
    order: Order = "random"
    hard_first: bool = Field(True, description="Fewer samples of problems that are often solved.")

    def rows(self, rollouts: Sequence[Rollout], seed: int) -> list[dict[str, Any]]:
        """The selected samples as rows.

        Raises:
            TrainingError: there is no right sample.
        """
        found = select(rollouts, each=self.each, order=self.order, hard_first=self.hard_first, seed=seed)
        if not found:
            raise TrainingError("no sample is right: there is nothing to learn from", param="rollouts")
        return [row.model_dump(exclude_unset=True) for row in found]


class RejectionSampling(Supervised):
    """RFT (Yuan et al. 2023, arXiv:2308.01825): samples the problems, learns distinct right answers."""

    recipe: Literal["rejection_sampling"]
    needs_rollouts: ClassVar[bool] = True
    select: Select = Field(default_factory=Select)

    def make(self, job: Job) -> list[dict[str, Any]]:
        """The selected right samples of the problems.

        Raises:
            TrainingError: there is no right sample.
        """
        assert self.problems is not None
        return self.select.rows(job.sample(load(self.problems), "rollouts"), self.seed)


class Star(Supervised):
    """STaR (Zelikman et al. 2022, arXiv:2203.14465): where all samples fail, the answer is a hint."""

    recipe: Literal["star"]
    needs_rollouts: ClassVar[bool] = True
    select: Select = Field(default_factory=Select)
    hint: str = Field(
        HINT, description="The question of the second round; {question} and {answer} are filled in."
    )

    def make(self, job: Job) -> list[dict[str, Any]]:
        """The selected right samples; where there were none, those with a hint, which the row leaves out.

        Raises:
            TrainingError: there is no right sample, or `hint` lacks a place for question or answer.
        """
        assert self.problems is not None
        problems = load(self.problems)
        first = job.sample(problems, "rollouts")
        again = hinted(problems, first, self.hint)
        second = job.sample(again, "hinted", self.rollouts_of_hints()) if again else []
        return self.select.rows(rationalised(first, second), self.seed)

    @property
    def reads_answers(self) -> bool:
        """Hints are answers."""
        return True

    def rollouts_of_hints(self) -> Rollouts:
        """As the first round's, but never from its file."""
        return (self.rollouts or Rollouts()).model_copy(update={"file": None})
