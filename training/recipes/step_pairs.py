"""Pairs that differ in one step: the first wrong one of an answer, and a right one in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mull.training.data.labels import Solution, first_error, steps_of
from mull.training.data.rows import Preference, Problem, Rollout, assistant
from mull.training.data.samples import distinct, random_of, shared
from mull.training.recipes.base import Section
from mull.training.recipes.labelling import label, solutions_of
from mull.training.recipes.step_labels import BinarySearch, Labels
from mull.training.rollouts import Rollouts, continued

if TYPE_CHECKING:
    from mull.training.job import Job


class Steps(Section):
    """Where pairs of steps come from; only the two steps are learned (Step-DPO, arXiv:2406.18629)."""

    labels: Labels = Field(default_factory=BinarySearch, description="How the first error is found.")
    k: int = Field(8, ge=1, description="Continuations of what is right before it, to find a right step.")
    delimiter: str = Field("\n", min_length=1, description="Where steps end.")


def step_pairs(
    job: Job, problems: Sequence[Problem], rollouts: Sequence[Rollout], how: Steps, each: int
) -> list[Preference]:
    """Wrong samples, against samples that go on from their last right step and become right.

    Follows Lai et al. 2024 (arXiv:2406.18629). Wrong samples whose beginning no continuation makes right, or
    only with the same step, make no pair.

    Args:
        job: The recipe on its way.
        problems: With references.
        rollouts: Their samples.
        how: The recipe's section.
        each: Wrong samples of a problem at most.

    Raises:
        TrainingError: there are no labels of this kind for these problems, or no continuations.
    """
    recipe = job.recipe
    wrong: list[tuple[Problem, Solution]] = []
    for problem, rollout in zip(problems, rollouts, strict=True):
        samples = [s for s in distinct(rollout.samples) if s.right is False]
        random_of(recipe.seed, rollout).shuffle(samples)
        chosen = rollout.model_copy(update={"samples": samples[:each]})
        wrong += [(problem, s) for s in solutions_of(problem, chosen, how.delimiter)]
    labelled = label(job, how.labels, wrong, policy=recipe.model)
    failed = [
        (problem, solution, error, solution.prefix(error))
        for (problem, solution), labels in zip(wrong, labelled.labels, strict=True)
        if (error := first_error(labels)) is not None
    ]
    starts = {(problem.id, start[1]): start for problem, _, _, start in failed}
    drawn = continued(
        list(starts.values()),
        job.folder / "data" / "steps.jsonl",
        model=recipe.model,
        rollouts=(recipe.rollouts or Rollouts()).model_copy(update={"n": how.k}),
        seed=recipe.seed,
    )
    right = {
        start: [s.text for s in distinct(found) if s.right]
        for start, found in zip(starts, drawn, strict=True)
    }
    rows = []
    for problem, solution, error, (_, prefix, _) in failed:
        wrong_step, rest = solution.steps[error], "".join(solution.steps[error:])
        better = [t for t in right[problem.id, prefix] if steps_of(t, how.delimiter)[0] != wrong_step]
        if better:
            rows.append(
                Preference(
                    problem=problem.id,
                    prompt=list(solution.prompt),
                    chosen=assistant(prefix + max(better, key=lambda text: shared(text, rest))),
                    rejected=assistant(prefix + rest),
                    source={"kind": "step", "step": error, "model": recipe.model, "seed": recipe.seed},
                )
            )
    return rows


def ends_of_steps(
    tokenizer: Any, chosen: Sequence[int], rejected: Sequence[int], delimiter: str
) -> tuple[int, int]:
    """How many tokens of either answer lie before the end of the first step in which they differ."""
    parted = next((n for n, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    if parted is None:
        return len(chosen), len(rejected)
    first, second = (_end(tokenizer, ids, parted, delimiter) for ids in (chosen, rejected))
    return first, second


def _end(tokenizer: Any, ids: Sequence[int], start: int, delimiter: str) -> int:
    for end in range(start + 1, len(ids)):
        if delimiter in tokenizer.decode(ids[start:end]):
            return end
    return len(ids)
