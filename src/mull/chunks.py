"""Texts cut into overlapping pieces that fit a limit."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

SENTENCE = re.compile(r"""(?<=[.!?…])["'”’)\]]*\s+|(?<=[。！？])["'”’」』）]*\s*|(?<!\s)\s*\n\s*""")
"""What lies between two sentences: a line's end ends one too."""
WORD = re.compile(r"\s+")

Length = Callable[[str], int]


def chunks(text: str, size: int, *, overlap: int = 0, length: Length = len) -> list[str]:
    """Cut a text at the ends of sentences into chunks that are as long as `size` allows.

    A sentence longer than `size` is cut between words, a word between characters. Together the chunks hold
    the whole text; blanks around a chunk are dropped.

    Args:
        text: What to cut; a blank text has no chunks.
        size: Greatest length of a chunk.
        overlap: Up to this length the end of a chunk, in whole sentences, starts the next one too.
        length: Measures a text: characters by default, or tokens. What is added to a text must not make it
            shorter. It is called once a sentence and some ten times a chunk.

    Raises:
        ValueError: `overlap` is not less than `size`, or a single character is longer than `size`.
    """
    if not 0 <= overlap < size:
        raise ValueError("the overlap is at least 0 and less than the size")
    bounds = list(_bounds(text, size, length))
    found, start = [], 0
    while start < len(bounds) - 1:
        end = _reach(text, bounds, start, size, length)
        found.append(text[bounds[start] : bounds[end]].strip())
        if end == len(bounds) - 1:
            break
        start = _back(text, bounds, start, end, size, overlap, length)
    return [chunk for chunk in found if chunk]


def _bounds(text: str, size: int, length: Length) -> Iterator[int]:
    """Offsets at which the text may be cut, its start and end included; no two are more than `size` apart."""
    yield 0
    for start, end in _pieces(SENTENCE, text, 0, len(text)):
        if _fits(text, start, end, size, length):
            yield end
            continue
        for first, last in _pieces(WORD, text, start, end):
            if not _fits(text, first, last, size, length):
                yield from _characters(text, first, last, size, length)
            yield last


def _pieces(separator: re.Pattern[str], text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The pieces of a part of the text, each with the separator behind it."""
    at = start
    for match in separator.finditer(text, start, end):
        if match.end() > at:
            yield at, match.end()
            at = match.end()
    if at < end:
        yield at, end


def _characters(text: str, start: int, end: int, size: int, length: Length) -> Iterator[int]:
    """Offsets that cut a word into parts that fit; its end is left out."""
    offsets = range(start, end + 1)
    at = 0
    while not _fits(text, offsets[at], end, size, length):
        at = _reach(text, offsets, at, size, length)
        yield offsets[at]


def _fits(text: str, start: int, end: int, size: int, length: Length) -> bool:
    return length(text[start:end].strip()) <= size


def _reach(text: str, bounds: list[int] | range, start: int, size: int, length: Length) -> int:
    """The furthest bound whose distance from `start` fits."""

    def distance(end: int) -> int:
        return length(text[bounds[start] : bounds[end]].strip())

    step = 1
    while start + step < len(bounds) and distance(start + step) <= size:
        step *= 2
    near = start + step // 2
    ends = range(near + 1, min(start + step, len(bounds) - 1) + 1)
    reached = near + bisect_right(ends, size, key=distance)
    if reached == start:
        raise ValueError(f"a single character is longer than {size}")
    return reached


def _back(text: str, bounds: list[int], start: int, end: int, size: int, overlap: int, length: Length) -> int:
    """Where the next chunk starts: as early as the overlap allows, if it then gets beyond `end`."""
    starts = range(start + 1, end)

    def fits(at: int) -> bool:
        return _fits(text, bounds[at], bounds[end], overlap, length) and _fits(
            text, bounds[at], bounds[end + 1], size, length
        )

    return start + 1 + bisect_left(starts, True, key=fits) if overlap else end
