"""Labels for the steps of sampled answers: exact ones, Monte-Carlo estimates, and binary search.

The last two need continuations: samples that go on from a prefix of an answer. They are asked for in batches,
and for each distinct prefix once, however many answers share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from mull.training.bundled import problems as bundled
from mull.training.bundled.checker import check_lines
from mull.training.data.rows import Message, Problem
from mull.training.errors import TrainingError
from mull.verifiers.steps import split

Start = tuple[Sequence[Message], str, str]
"""A prompt, the beginning of an answer, and the reference."""
Continue = Callable[[Sequence[Start], int], list[list[bool]]]
"""From starts, and how many samples of each, to which of them became right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A sampled answer, in steps."""

    prompt: Sequence[Message]
    reference: str
    steps: tuple[str, ...]
    """Each with its delimiter; joined, they are the answer."""
    right: bool
    """Whether the final answer equals the reference."""

    def prefix(self, steps: int) -> Start:
        """The first `steps` steps, to be continued."""
        return self.prompt, "".join(self.steps[:steps]), self.reference


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels, and what they cost."""

    labels: list[list[float]]
    """For each answer, for each of its steps."""
    prefixes: int = 0
    """Distinct prefixes that were continued."""
    rollouts: int = 0
    """Continuations that were sampled."""


def steps_of(text: str, delimiter: str = "\n") -> tuple[str, ...]:
    """The steps of an answer as verifiers cut them, each with its delimiter."""
    return tuple(step.text for step in split(text, delimiter))


def is_bundled(problem: Problem) -> bool:
    """Whether the problem is of the bundled task, so that it can be made again from `seed` and `index`."""
    return _bundled(problem) is not None


def exact(problem: Problem, steps: Sequence[str]) -> list[bool]:
    """For each step, whether it and all before it are correct; for the bundled task only.

    Raises:
        TrainingError: the problem is not of the bundled task.
    """
    made = _bundled(problem)
    if made is None:
        raise TrainingError(
            f"problem {problem.id!r}: exact labels exist for the bundled task only, where `seed` and `index` "
            f"are those of `mull data problems` with {bundled.MIN_STEPS} to {bundled.MAX_STEPS} steps; "
            "use monte_carlo or binary_search",
            param="labels.how",
        )
    return check_lines(made, steps)


def _bundled(problem: Problem) -> bundled.Problem | None:
    if problem.seed is None or problem.index is None:
        return None
    made = bundled.generate_one(problem.seed, problem.index)
    return made if made.question == problem.prompt[-1].content else None


def monte_carlo(solutions: Sequence[Solution], go_on: Continue, *, k: int, soft: bool) -> Labelled:
    """Label every step by `k` continuations of the answer up to it.

    Follows Math-Shepherd (Wang et al. 2023, arXiv:2312.08935). Last steps are labelled by whether the answer
    is right.

    Args:
        solutions: What to label.
        go_on: Samples continuations.
        k: Continuations of each prefix.
        soft: The label is the share of right continuations. Otherwise it is 1 if one is right, else 0; then
            prefixes of right answers are not continued: the answer is one.
    """
    tree = _Tree(go_on, k, () if soft else solutions)
    tree.ask(s.prefix(n) for s in solutions for n in range(1, len(s.steps)))

    def label(start: Start) -> float:
        share = tree.share(start)
        return share if soft else float(share > 0)

    labels = [
        [label(s.prefix(n)) for n in range(1, len(s.steps))] + [float(s.right)] if s.steps else []
        for s in solutions
    ]
    return Labelled(labels, tree.asked, tree.asked * k)


def binary_search(solutions: Sequence[Solution], go_on: Continue, *, k: int) -> Labelled:
    """Find the first error of each wrong answer by halving; steps before it are labelled 1, the others 0.

    Follows OmegaPRM (Luo et al. 2024, arXiv:2406.06592): a prefix is good if one of its `k` continuations
    becomes right. An answer takes the logarithm of its number of steps, where `monte_carlo` takes the number.
    Right answers are labelled 1 throughout and cost nothing.

    Args:
        solutions: What to label.
        go_on: Samples continuations.
        k: Continuations of each prefix.
    """
    tree = _Tree(go_on, k, solutions)
    # Prefixes of `low` steps are good, those of `high` steps are not: an empty one may become right, a whole
    # wrong answer may not.
    low = [len(s.steps) if s.right else 0 for s in solutions]
    high = [len(s.steps) + s.right for s in solutions]
    while searched := [n for n in range(len(solutions)) if high[n] - low[n] > 1]:
        middles = {n: solutions[n].prefix((low[n] + high[n]) // 2) for n in searched}
        tree.ask(middles.values())
        for n, start in middles.items():
            bound = low if tree.share(start) > 0 else high
            bound[n] = (low[n] + high[n]) // 2
    labels = [[1.0] * good + [0.0] * (len(s.steps) - good) for s, good in zip(solutions, low, strict=True)]
    return Labelled(labels, tree.asked, tree.asked * k)


def first_error(labels: Sequence[float], threshold: float = 0.5) -> int | None:
    """Index of the first step whose label is below the threshold; None where there is none."""
    good = sum(1 for _ in takewhile(lambda label: label >= threshold, labels))
    return good if good < len(labels) else None


_Key = tuple[tuple[tuple[str, str], ...], str, str]


class _Tree:
    """Prefixes that were continued, by their text, and those that are known to be good."""

    def __init__(self, go_on: Continue, k: int, known: Sequence[Solution]) -> None:
        self._go_on = go_on
        self._k = k
        good = (_key(s.prefix(n)) for s in known if s.right for n in range(1, len(s.steps)))
        self._shares: dict[_Key, float] = dict.fromkeys(good, 1.0)
        self.asked = 0

    def ask(self, starts: Iterable[Start]) -> None:
        """Continue those that are new."""
        new = {key: s for s in starts if (key := _key(s)) not in self._shares}
        if new:
            self.asked += len(new)
            for key, right in zip(new, self._go_on(list(new.values()), self._k), strict=True):
                self._shares[key] = sum(right) / len(right)

    def share(self, start: Start) -> float:
        return self._shares[_key(start)]


def _key(start: Start) -> _Key:
    prompt, prefix, reference = start
    return tuple((m.role, m.content) for m in prompt), prefix, reference
