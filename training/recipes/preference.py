"""Learning from preferences: pairs of right and wrong samples, or what a judge liked and did not like."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mull.training.bundled.wording import CHECK
from mull.training.data.kinds import Choice
from mull.training.data.problems import load
from mull.training.recipes.base import Kind, Recipe, Section
from mull.training.recipes.step_pairs import Steps, step_pairs

if TYPE_CHECKING:
    from mull.training.data.rows import Rollout
    from mull.training.job import Job


class Pairs(Section):
    """Which samples of a problem become pairs."""

    each: int = Field(4, ge=1, description="Pairs of a problem at most.")
    choose: Choice = Field(
        "random",
        description="hardest: likely wrong against unlikely right ones; prefix: longest common beginning. "
        "A judge's pairs are always its best and worst.",
    )


class Feedback(Section):
    """Samples judged by a language model instead of by reference answers (RLAIF, arXiv:2309.00267)."""

    judge: str | None = Field(None, description="Folder or name; the trained model itself by default.")
    question: str = Field(CHECK, min_length=1, description="What is asked after the sample.")
    good: str = Field("Yes", min_length=1)
    bad: str = Field("No", min_length=1)
    margin: float = Field(
        0.2, ge=0, le=1, description="Least difference of P(good) between a pair's samples."
    )
    batch: int = Field(64, ge=1, description="Samples judged at once.")


class _Preference(Recipe):
    needs_rollouts: ClassVar[bool] = True
    feedback: Feedback | None = None

    def _rollouts(self, job: Job) -> list[Rollout]:
        """Samples of the problems; with scores where there is a judge."""
        assert self.problems is not None
        rollouts = job.sample(load(self.problems), "rollouts")
        if self.feedback is None:
            return rollouts
        from mull.training.verdicts import score

        f = self.feedback
        return score(
            rollouts,
            model=f.judge or self.model,
            question=f.question,
            good=f.good,
            bad=f.bad,
            batch=f.batch,
        )


class _Paired(_Preference):
    kind: ClassVar[Kind] = "preference"
    pairs: Pairs = Field(default_factory=Pairs)

    @model_validator(mode="after")
    def _likelihoods(self) -> _Paired:
        kept = self.rollouts is not None and self.rollouts.logprobs
        if self.problems is not None and self.pairs.choose == "hardest" and not kept:
            raise ValueError("pairs.choose: hardest needs `rollouts.logprobs: true`")
        return self

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Pairs of samples of a problem: right and wrong, or better and worse by the judge.

        Raises:
            TrainingError: the problems cannot be sampled or judged.
        """
        from mull.training.data.pairs import preferences, scored_preferences

        rollouts, each = self._rollouts(job), self.pairs.each
        if self.feedback is not None:
            rows = scored_preferences(rollouts, each=each, margin=self.feedback.margin)
        else:
            rows = preferences(rollouts, each=each, choose=self.pairs.choose, seed=self.seed)
        return [row.model_dump(exclude_none=True) for row in rows]


class Dpo(_Paired):
    """DPO (Rafailov et al. 2023, arXiv:2305.18290); other losses by `options.loss_type`, as TRL has them."""

    recipe: Literal["dpo"]
    sft_weight: float = Field(
        0.0, ge=0, description="Weight of the likelihood of chosen answers (RPO, arXiv:2404.19733)."
    )
    steps: Steps | None = Field(
        None, description="Learn single steps: the first wrong one of an answer and a right one in its place."
    )

    @model_validator(mode="after")
    def _one_kind_of_pairs(self) -> Dpo:
        if self.steps is not None and self.feedback is not None:
            raise ValueError("steps and feedback exclude each other: a judge tells whole answers apart")
        if self.steps is not None and "choose" in self.pairs.model_fields_set:
            raise ValueError("steps and pairs.choose exclude each other: the wrong step says what is paired")
        return self

    @model_validator(mode="after")
    def _one_way_to_weigh(self) -> Dpo:
        if self.sft_weight and "loss_weights" in self.training.options:
            raise ValueError("sft_weight and training.options.loss_weights exclude each other")
        return self

    @property
    def reads_answers(self) -> bool:
        """They judge what goes on from right steps."""
        return self.steps is not None

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Pairs of samples, or with `steps` of samples that differ from one step on.

        Raises:
            TrainingError: the problems cannot be sampled, judged or labelled.
        """
        if self.steps is None:
            return super().make(job)
        assert self.problems is not None
        problems = load(self.problems)
        rows = step_pairs(job, problems, job.sample(problems, "rollouts"), self.steps, self.pairs.each)
        return [row.model_dump(exclude_none=True) for row in rows]

    def trainer(self, job: Job) -> Any:
        """TRL's `DPOTrainer`; with an adapter, the model without it is the reference."""
        from trl import DPOConfig, DPOTrainer

        args = job.arguments(DPOConfig, max_length=self.training.max_length)
        if self.sft_weight:
            args.loss_weights = [1.0] * len(args.loss_type) + [self.sft_weight]
            args.loss_type = [*args.loss_type, "sft"]
        if self.steps is None:
            return DPOTrainer(args=args, **job.parts)
        from mull.training.recipes.step_dpo import StepDPOTrainer

        return StepDPOTrainer(delimiter=self.steps.delimiter, args=args, **job.parts)


class SimPo(_Paired):
    """SimPO (Meng et al. 2024, arXiv:2405.14734): log-probability a token, no reference model."""

    recipe: Literal["simpo"]

    def trainer(self, job: Job) -> Any:
        """TRL's experimental `CPOTrainer`, which has SimPO as one of its losses."""
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        args = job.arguments(
            CPOConfig,
            loss_type="simpo",
            cpo_alpha=0.0,
            beta=2.0,
            simpo_gamma=1.0,
            max_length=_length(job),
            remove_unused_columns=False,
        )
        return CPOTrainer(args=args, **job.parts)


class Orpo(_Paired):
    """ORPO (Hong et al. 2024, arXiv:2403.07691): likelihood of the chosen answer and odds, no reference."""

    recipe: Literal["orpo"]

    def trainer(self, job: Job) -> Any:
        """TRL's experimental `ORPOTrainer`; its `beta` is the paper's lambda."""
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental.orpo import ORPOConfig

        from mull.training.recipes.orpo import AnswerORPOTrainer

        args = job.arguments(ORPOConfig, max_length=_length(job), remove_unused_columns=False)
        return AnswerORPOTrainer(args=args, **job.parts)


class Kto(_Preference):
    """KTO (Ethayarajh et al. 2024, arXiv:2402.01306): single answers that are wanted or not."""

    recipe: Literal["kto"]
    kind: ClassVar[Kind] = "unpaired"
    each: int = Field(8, ge=1, description="Samples of a problem at most, half of them wanted.")

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Samples with whether they are right, or liked by the judge.

        Raises:
            TrainingError: the problems cannot be sampled or judged.
        """
        from mull.training.data.pairs import unpaired
        from mull.training.data.samples import liked

        rollouts = self._rollouts(job)
        if self.feedback is not None:
            rollouts = liked(rollouts, margin=self.feedback.margin)
        rows = unpaired(rollouts, each=self.each, seed=self.seed)
        return [row.model_dump(exclude_none=True) for row in rows]

    def trainer(self, job: Job) -> Any:
        """TRL's `KTOTrainer`."""
        from trl import KTOConfig, KTOTrainer

        args = job.arguments(KTOConfig, max_length=self.training.max_length)
        # The KL term is taken from neighbours, answers to other prompts; the trainer keeps the order of rows.
        shuffled = job.dataset.shuffle(seed=self.seed)
        return KTOTrainer(args=args, **job.parts | {"train_dataset": shuffled})


def _length(job: Job) -> int:
    """Tokens at which these trainers cut rows; without a number they cut at 512."""
    return job.recipe.training.max_length or int(job.model.config.max_position_embeddings)
