"""The exact checker: which lines of a solution, and which prefixes of it, are still on a correct path.

A line is correct when it computes, from values already known, a quantity not computed before, and is
arithmetically right. True lines about quantities that the answer does not need are correct; repeating a
line is not, for it makes no progress. The answer line is correct once the target is known. Everything after
the first error is wrong.
"""

from collections.abc import Sequence

from mull.training.bundled.problems import Problem
from mull.training.bundled.solver import Line, answer_line, bases, ways

END = "<eos>"


def check_lines(problem: Problem, lines: Sequence[str]) -> list[bool]:
    """For each line, whether it and all before it are correct; ends of lines are ignored."""
    known = bases(problem)
    by_name = {q.name: i for i, q in enumerate(problem.quantities)}
    last = "".join(answer_line(problem.answer))
    good: list[bool] = []
    finished = False
    for line in lines:
        text = line.rstrip("\n")
        right = False
        if not finished and text == last:
            right = finished = problem.target in known
        elif not finished:
            position = by_name.get(text.partition(" ")[0])
            if position is not None and any(
                "".join(w) == text + "\n" for w in ways(problem, known, position)
            ):
                known.add(position)
                right = True
        good.append(right and all(good))
    return good


def check_pieces(problem: Problem, pieces: Sequence[str]) -> list[bool]:
    """For each piece, whether the solution up to and with it can still become a correct one.

    `pieces` are single tokens as the solver writes them; the end of sequence is `END`.
    """
    known = bases(problem)
    by_name = {q.name: i for i, q in enumerate(problem.quantities)}
    end: Line = (*answer_line(problem.answer), END)
    good: list[bool] = []
    candidates: list[Line] = []
    position: int | None = None
    depth = 0
    for piece in pieces:
        if depth == 0:
            position = by_name.get(piece)
            candidates = [] if position is None else ways(problem, known, position)
            if piece == end[0] and problem.target in known:
                candidates = [end]
        candidates = [c for c in candidates if depth < len(c) and c[depth] == piece]
        if not candidates:
            break
        good.append(True)
        depth += 1
        if piece == "\n" and position is not None:
            known.add(position)
            depth = 0
    return good + [False] * (len(pieces) - len(good))


def is_right(problem: Problem, text: str) -> bool:
    """Whether the last boxed answer of a solution is the answer of the problem."""
    _, mark, rest = text.rpartition("\\boxed{")
    return bool(mark) and rest.partition("}")[0].strip() == str(problem.answer)
