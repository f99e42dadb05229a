"""Outcome reward models: one score for a whole answer, from right and wrong answers or from pairs of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mull.training.data.kinds import Choice
from mull.training.data.pairs import outcomes, preferences
from mull.training.recipes.base import Kind, Network
from mull.training.recipes.classifier import Classifier
from mull.verifiers.reading import Passage

if TYPE_CHECKING:
    from mull.training.job import Job


class Orm(Classifier):
    """An outcome reward model of labelled answers (Cobbe et al. 2021, arXiv:2110.14168).

    A sequence classifier with one score, read at the end of the answer as `orm` verifiers of the server do.
    The loss is the binary cross-entropy with the labels, which may be probabilities.
    """

    recipe: Literal["orm"] = "orm"
    each: int = Field(8, ge=2, description="Samples of a problem at most, half of them right.")

    kind: ClassVar[Kind] = "outcome"
    network: ClassVar[Network] = "sequence"

    def make(self, job: Job) -> list[dict[str, Any]]:
        """As many right as wrong samples of each problem.

        Raises:
            TrainingError: the problems have no reference answers.
        """
        _, rollouts = self.sampled(job)
        found = outcomes(rollouts, each=self.each, seed=self.seed)
        return [row.model_dump(exclude_none=True) for row in found]

    def trainer(self, job: Job) -> Any:
        """A plain trainer; TRL's learns from pairs only.

        Raises:
            TrainingError: a row is too long.
        """
        from mull.training.verifier_inputs import score_loss

        _name_label(job)
        readings = self.read(job, [(row["prompt"], _whole(row["completion"])) for row in job.rows])
        rows = [
            {"input_ids": reading.ids, "labels": float(row["label"])}
            for row, reading in zip(job.rows, readings, strict=True)
        ]
        return self.train_on(job, rows, score_loss)

    def figures(self, job: Job, model: Path) -> dict[str, Any]:
        """How well the trained model judges the policy's samples of the held-out problems."""
        from mull.training.verifier_figures import Judged, answer_figures
        from mull.training.verifier_inputs import scores

        _, rollouts = self.held_out(job)
        if not rollouts:
            return {}
        rows = [
            (r.prompt, Passage(text=s.text, closed=s.finish == "stop")) for r in rollouts for s in r.samples
        ]
        found = iter(scores(model, self.read(job, rows, self.context(job))))
        return {
            **answer_figures(
                [[Judged(score=next(found), right=bool(s.right)) for s in r.samples] for r in rollouts]
            )
        }


class OrmPairs(Orm):
    """An outcome reward model of pairs: the right one shall score higher (Bradley and Terry 1952).

    Follows Ouyang et al. 2022 (arXiv:2203.02155), with TRL's `RewardTrainer`. Differences of scores are
    log-odds; the scores themselves are no probabilities until they are calibrated.
    """

    recipe: Literal["orm_pairs"] = "orm_pairs"  # type: ignore[assignment]
    each: int = Field(4, ge=1, description="Pairs of a problem at most.")
    choose: Choice = Field("random", description="Which right and wrong samples are paired.")

    kind: ClassVar[Kind] = "preference"

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Pairs of a right and a wrong sample of the same problem.

        Raises:
            TrainingError: the problems have no reference answers.
        """
        _, rollouts = self.sampled(job)
        found = preferences(rollouts, each=self.each, choose=self.choose, seed=self.seed)
        return [row.model_dump(exclude_none=True) for row in found]

    def trainer(self, job: Job) -> Any:
        """TRL's trainer, on tokens as they are served.

        Raises:
            TrainingError: a row is too long.
        """
        from datasets import Dataset
        from trl import RewardConfig, RewardTrainer

        from mull.training.verifier_inputs import padding

        _name_label(job)
        sides = {
            f"{side}_ids": [
                reading.ids
                for reading in self.read(job, [(row["prompt"], _whole(row[side])) for row in job.rows])
            ]
            for side in ("chosen", "rejected")
        }
        job.tokenizer.pad_token_id = padding(job.tokenizer)
        return RewardTrainer(
            model=job.model,
            args=job.arguments(RewardConfig, max_length=None),
            train_dataset=Dataset.from_dict(sides),
            processing_class=job.tokenizer,
            peft_config=job.adapter,
            callbacks=job.callbacks,
        )


def _whole(completion: Any) -> Passage:
    """An answer that is not cut off."""
    return Passage(text=completion[0]["content"], closed=True)


def _name_label(job: Job) -> None:
    job.model.config.id2label = {0: "right"}
    job.model.config.label2id = {"right": 0}
