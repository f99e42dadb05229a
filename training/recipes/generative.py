"""A verifier that writes its judgement: a language model that learns to say whether an answer is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mull.training.bundled.wording import CHECK
from mull.training.data.problems import load
from mull.training.recipes.base import Section
from mull.training.recipes.sft import Supervised

if TYPE_CHECKING:
    from mull.training.job import Job


class Verdicts(Section):
    """What the verifier is asked, and what it learns from."""

    each: int = Field(8, ge=2, description="Judged samples of a problem at most, half of them right.")
    question: str = Field(CHECK, min_length=1, description="What the user asks after an answer.")
    good: str = Field("Yes", min_length=1)
    bad: str = Field("No", min_length=1)
    solutions: int = Field(
        1,
        ge=0,
        description="Right samples of a problem learned as answers: solving is not forgotten.",
    )


class GenerativeVerifier(Supervised):
    """GenRM (Zhang et al. 2024, arXiv:2408.15240): supervised on verdicts, and on right answers besides."""

    recipe: Literal["generative_verifier"]
    needs_rollouts: ClassVar[bool] = True
    verdicts: Verdicts = Field(default_factory=Verdicts)

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Dialogues of a problem, a sample, the question and the true verdict.

        Raises:
            TrainingError: the problems cannot be sampled, or have no reference answers.
        """
        from mull.training.data.pairs import verdicts
        from mull.training.data.select import select

        assert self.problems is not None
        rollouts = job.sample(load(self.problems), "rollouts")
        v = self.verdicts
        rows = verdicts(rollouts, each=v.each, question=v.question, yes=v.good, no=v.bad, seed=self.seed)
        if v.solutions:
            rows += select(rollouts, each=v.solutions, seed=self.seed)
        return [row.model_dump(exclude_none=True) for row in rows]

    def figures(self, job: Job, model: Path) -> dict[str, Any]:
        """What P(good) is worth on samples of held-out problems, drawn from the model before training."""
        from mull.training import verdicts
        from mull.training.verifier_figures import Judged, answer_figures

        if self.evaluation is None or self.evaluation.samples == 0:
            return {}
        e, v = self.evaluation, self.verdicts
        rollouts = verdicts.score(
            job.sample(load(e.problems), "held-out", rollouts=e.rollouts),
            model=str(model),
            question=v.question,
            good=v.good,
            bad=v.bad,
        )
        return answer_figures(
            [[Judged(score=s.score or 0.0, right=bool(s.right)) for s in r.samples] for r in rollouts]
        )
