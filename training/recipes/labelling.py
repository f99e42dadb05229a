"""Labels for the steps of sampled answers, as a recipe asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mull.training.data.labels import Labelled, Solution, binary_search, exact, monte_carlo, steps_of
from mull.training.data.rows import Problem, Rollout
from mull.training.errors import TrainingError
from mull.training.recipes.step_labels import Exact, Labels, MonteCarlo
from mull.training.rollouts import Rollouts, continuations

if TYPE_CHECKING:
    from mull.training.job import Job


def label(job: Job, how: Labels, pairs: Sequence[tuple[Problem, Solution]], *, policy: str) -> Labelled:
    """Labels for the steps of each solution; `policy` goes on from prefixes unless `how` names another model.

    Raises:
        TrainingError: there are no labels of this kind for these problems.
    """
    if isinstance(how, Exact):
        return Labelled([[float(good) for good in exact(p, s.steps)] for p, s in pairs])
    rollouts = job.recipe.rollouts or Rollouts()
    if how.temperature is not None:
        rollouts = rollouts.model_copy(update={"temperature": how.temperature})
    go_on = continuations(
        job.folder / "data" / "continuations.jsonl",
        model=how.completer or policy,
        rollouts=rollouts,
        seed=job.recipe.seed,
    )
    solutions = [s for _, s in pairs]
    if isinstance(how, MonteCarlo):
        return monte_carlo(solutions, go_on, k=how.k, soft=how.soft)
    return binary_search(solutions, go_on, k=how.k)


def solutions_of(problem: Problem, rollout: Rollout, delimiter: str) -> list[Solution]:
    """The samples in steps; copies, and those of blanks only, are left out.

    Raises:
        TrainingError: the problem has no answer.
    """
    if problem.answer is None:
        raise TrainingError(f"problem {problem.id!r} has no `answer` to compare with", param="problems")
    return [
        Solution(prompt=rollout.prompt, reference=problem.answer, steps=steps, right=right)
        for text, right in {s.text: bool(s.right) for s in rollout.samples}.items()
        if (steps := steps_of(text, delimiter))
    ]
