"""Cut an answer into the steps that a verifier judges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an answer."""

    text: str
    """Its text, the delimiter and blank lines around it included."""
    end: int
    """Offset in the answer just behind its delimiter: the token that ends here carries the judgement."""


def split(text: str, delimiter: str) -> tuple[Step, ...]:
    """The steps of `text`; joined, their texts give `text` back, unless it is all blank.

    - A delimiter belongs to the step that it ends.
    - Blank pieces are no steps: they belong to the step before them (those at the start to the first), and do
      not move the point at which that step is judged. So a trailing empty step is never scored.
    - A last step without delimiter, cut off or simply the end of the answer, is judged at its last character.

    Raises:
        ValueError: the delimiter is empty.
    """
    pieces = text.split(delimiter)
    steps: list[Step] = []
    blank, end = "", 0
    for number, piece in enumerate(pieces):
        whole = piece if number == len(pieces) - 1 else piece + delimiter
        end += len(whole)
        if piece.strip():
            steps.append(Step(blank + whole, end))
            blank = ""
        elif steps:
            steps[-1] = Step(steps[-1].text + whole, steps[-1].end)
        else:
            blank += whole
    return tuple(steps)
