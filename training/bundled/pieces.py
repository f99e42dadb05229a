"""How text falls into pieces: words, numbers and frequent phrases, each of which is one token."""

import re

PHRASES = (
    " times as many as", " twice as many as", " half as many as", " as many as", " more than", " fewer than",
    " divided by", " a third of", " the sum of", " the difference of",
    "How many", "Find how many", "The answer is ",
)  # fmt: skip
PATTERN = (
    "|".join(sorted(PHRASES, key=len, reverse=True))
    + r"|\n|\. |\\boxed\{|\}\.| [+\-*/=]| ?[A-Za-z]+| ?[0-9]{1,3}|[^A-Za-z0-9 \n]| "
)
"""Regular expression of a piece, in the common subset of Python's and the tokenizer's dialects."""

_PIECE = re.compile(PATTERN)


def split(text: str) -> tuple[str, ...]:
    """The pieces of `text`."""
    return tuple(_PIECE.findall(text))
