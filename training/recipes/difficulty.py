"""A head that says, from the question alone, how often the policy will solve it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mull.training.data.pairs import difficulties
from mull.training.recipes.base import Kind, Network
from mull.training.recipes.classifier import Classifier
from mull.verifiers.reading import Passage

if TYPE_CHECKING:
    from mull.training.job import Job

_NOTHING = Passage(text="")


class Difficulty(Classifier):
    """A sequence classifier of the prompt: the probability that a sample of `policy` is right.

    Follows Damani et al. 2024 (arXiv:2410.04707): the loss is the binary cross-entropy with pass rates. It is
    read at the last token of the prompt, where the answer would begin.
    """

    recipe: Literal["difficulty"] = "difficulty"

    kind: ClassVar[Kind] = "difficulty"
    network: ClassVar[Network] = "sequence"

    def make(self, job: Job) -> list[dict[str, Any]]:
        """The share of each problem's samples that are right.

        Raises:
            TrainingError: the problems have no reference answers.
        """
        _, rollouts = self.sampled(job)
        return [row.model_dump(exclude_none=True) for row in difficulties(rollouts)]

    def trainer(self, job: Job) -> Any:
        """A plain trainer.

        Raises:
            TrainingError: a prompt is too long.
        """
        from mull.training.verifier_inputs import score_loss

        job.model.config.id2label = {0: "solved"}
        job.model.config.label2id = {"solved": 0}
        readings = self.read(job, [(row["prompt"], _NOTHING) for row in job.rows])
        rows = [
            {"input_ids": reading.ids, "labels": float(row["rate"])}
            for row, reading in zip(job.rows, readings, strict=True)
        ]
        return self.train_on(job, rows, score_loss)

    def figures(self, job: Job, model: Path) -> dict[str, Any]:
        """How well predicted rates agree with those of the policy on the held-out problems.

        `reliability` has for tenths of the scale the mean prediction, the mean rate and how many they are.
        """
        from mull.training.statistics import bootstrap
        from mull.training.verifier_figures import reliability, spearman
        from mull.training.verifier_inputs import scores
        from mull.verifiers.reliability import brier

        _, rollouts = self.held_out(job)
        if not rollouts:
            return {}
        rates = [row.rate for row in difficulties(rollouts)]
        rows = [(r.prompt, _NOTHING) for r in rollouts]
        predicted = scores(model, self.read(job, rows, self.context(job)))
        pairs = list(zip(predicted, rates, strict=True))
        prior = sum(rates) / len(rates)
        return {
            "rank correlation": bootstrap(pairs, lambda ps: spearman(*zip(*ps, strict=True))),
            "Brier score": bootstrap(pairs, lambda ps: brier(*zip(*ps, strict=True))),
            "Brier score of the mean rate": bootstrap(rates, lambda rs: brier([prior] * len(rs), rs)),
            "reliability": reliability(predicted, rates),
        }
