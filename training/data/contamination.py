"""Evaluation problems in training data: by id, by text, and by shared runs of words.

Runs of 13 words follow Brown et al. 2020, appendix C (arXiv:2005.14165), who call a text dirty when it shares
a single one; here a share of the evaluation problem's runs has to be found, as problems of one task share
phrases.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

from mull.training.data.content import asked, written
from mull.training.data.rows import Problem, Row
from mull.words import words

RUN = 13
"""Words in a run."""
COMMON = 10
"""A run that more evaluation problems have than this is a phrase of the task and tells nothing."""
_SIGNS = str.maketrans({sign: f" sign{ord(sign)} " for sign in "+-−*×/÷^=<>≤≥%"})
"""Signs that tell one problem from another; all others are punctuation."""

Run = tuple[str, ...]


@lru_cache(maxsize=10_000)
def normal_words(text: str) -> Run:
    """Words without case, spacing and punctuation; mathematical signs are words."""
    return tuple(words(text.translate(_SIGNS)))


class Evaluation:
    """An index of the problems that must not be in training data.

    Args:
        problems: the evaluation problems.
        overlap: the least share of a problem's runs of words that makes a row with them contaminated.
    """

    def __init__(self, problems: Sequence[Problem], *, overlap: float) -> None:
        self._overlap = overlap
        self._ids = {problem.id for problem in problems}
        texts = [normal_words(" ".join(asked(problem))) for problem in problems]
        self._texts = {text for text in texts if text}
        found = [set(_runs(text)) for text in texts]
        holders = Counter(chain.from_iterable(found))
        telling = [[run for run in runs if holders[run] <= COMMON] for runs in found]
        self._sizes = [len(runs) for runs in telling]
        self._problems: dict[Run, list[int]] = {}
        for index, runs in enumerate(telling):
            for run in runs:
                self._problems.setdefault(run, []).append(index)

    def found_in(self, row: Row) -> str | None:
        """What a row has of an evaluation problem; None when it has nothing."""
        if (row.id if isinstance(row, Problem) else row.problem) in self._ids:
            return "the id of an evaluation problem"
        questions = [normal_words(text) for text in asked(row)]
        if not self._texts.isdisjoint([*questions, tuple(chain.from_iterable(questions))]):
            return "the text of an evaluation problem"
        texts = [*questions, *map(normal_words, written(row))]
        runs = {run for text in texts for run in _runs(text) if run in self._problems}
        shared = Counter(chain.from_iterable(self._problems[run] for run in runs))
        if any(count >= self._overlap * self._sizes[index] for index, count in shared.items()):
            return f"{self._overlap:.0%} or more of an evaluation problem, in runs of {RUN} words"
        return None


def _runs(text: Run) -> Iterator[Run]:
    return (text[start : start + RUN] for start in range(len(text) - RUN + 1))
