"""Reading answers without algebra: one spelling a text, exact values for plain numbers.

What can be told apart here never needs the worker: two plain numbers, or any two of which one is prose.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 2000
"""Longer answers are equal only when they are the same string, in characters."""

_SYMBOLS = str.maketrans(
    {"−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\leq ",
     "≥": r"\geq ", "²": "^2", "³": "^3", "°": r"^\circ ", "~": " ", "\u00a0": " ", "\u202f": " "}
)  # fmt: skip
_SPACING = re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|(?<!\\)\\[!,;: ]|\\q?quad(?![a-zA-Z])")
_GROUPING = re.compile(r"(?<=\d)(?:\\,|\{,\}|,\s?\\!)\s?(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_VALUE = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)(?:e[-+]?\d{{1,3}})?"
_NUMBER = re.compile(
    rf"(?P<before>[-+]?)\s*(?P<currency>\\?\$|[€£¥])?\s*(?P<sign>[-+]?)\s*"
    rf"(?:(?P<whole>\d+)(?:\s+|(?=\\frac)))??"
    rf"(?:(?P<top>{_DIGITS})\s*/\s*(?P<bottom>{_DIGITS})"
    r"|\\frac\s*(?:\{\s*(?P<t1>[-+]?\d+)\s*\}|(?P<t2>\d))\s*(?:\{\s*(?P<b1>\d+)\s*\}|(?P<b2>\d))"
    rf"|(?P<value>{_VALUE}))"
    r"(?P<unit>\s*\\?%|(?:cm|mm|km|kg|mg|ml|ft|lbs?|oz|hrs?|mi|mph|am|pm)\b\.?"
    r"|\s+[^\W\d_]{2,}(?:[ .][^\W\d_]+){0,2}\.?)?",
    re.IGNORECASE,
)
_NO_UNIT = re.compile(
    r"\b(?:pi|sqrt|sin|cos|tan|log|ln|exp|inf|infinity|mod|and|or|to|in|times|plus|minus|over|not"
    r"|hundred|thousand|million|billion|trillion|dozen|hal(?:f|ves)|thirds?|quarters?)\b"
)
_DOLLAR = re.compile(r"\\?\$|dollars?|usd")
_PERCENT = re.compile(r"\\?%|percent")

_WORD = re.compile(r"(?<![\\a-zA-Z])[^\W\d_]{2,}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[^{}]*\}")
_MATHEMATICAL = re.compile(r"[\d\\^_=<>+*/|\[{]")
_FUNCTION = re.compile(
    r"(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|inf|infinity|max|min|gcd|lcm|mod|and|or|xyz?|xz|yz|ab)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reading:
    """What an answer is, as far as can be told without algebra."""

    text: str
    """Its normalised spelling; answers with the same one are equal."""
    maths: str = ""
    """What a computer algebra system is to read; empty for prose, JSON and what is too long."""
    value: Fraction | None = None
    unit: str | None = None


def read(answer: str) -> Reading:
    """Normalise an answer. Linear in its length."""
    if _is_object(answer):
        return Reading(text=answer)
    text = " ".join(answer.split())
    if len(text) > LONGEST or _is_object(text):
        return Reading(text=text)
    maths = trim(_FRACTION.sub(r"\\frac", _SPACING.sub(" ", _GROUPING.sub("", text.translate(_SYMBOLS)))))
    plain = unwrap(maths)
    if option := re.fullmatch(r"\(([A-Za-z])\)", plain):
        plain = option.group(1)
    number = _number(plain)
    if number is not None:
        return Reading(text=plain, maths=maths, value=number[0], unit=number[1])
    if _is_prose(plain):
        return Reading(text=plain.rstrip(".").casefold())
    if re.fullmatch(r"[A-Z]", plain):  # a choice, not the variable that algebra would take it for
        return Reading(text=plain)
    return Reading(text=plain, maths=_spell_out(maths))


def trim(answer: str) -> str:
    """The answer without white space, dollar signs, emphasis and full stops around it."""
    for _ in range(4):
        answer = answer.strip().strip("*`")
        for left, right in (("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
            if len(answer) >= len(left + right) and answer.startswith(left) and answer.endswith(right):
                answer = answer[len(left) : len(answer) - len(right)]
        if answer.endswith(".") and not answer.endswith(".."):
            answer = answer[:-1]
    return answer


def unwrap(latex: str) -> str:
    r"""The text without `\\text{...}` and its like around its parts."""
    for _ in range(2):
        latex = _TEXT.sub(r" \1 ", latex)
    return " ".join(latex.split())


def same(a: Reading, b: Reading) -> bool | None:
    """Whether two answers are equal; None when only algebra can tell."""
    if a.text == b.text:
        return True
    if a.value is not None and b.value is not None:
        return _same_number(a, b)
    return None if a.maths and b.maths else False


def _same_number(a: Reading, b: Reading) -> bool:
    """A missing unit equals any; a percentage equals both `50` and `0.5`."""
    if a.unit == b.unit or a.unit is None or b.unit is None:
        return a.value == b.value or (a.unit != b.unit and not _worth(a).isdisjoint(_worth(b)))
    return False


def _worth(number: Reading) -> set[Fraction | None]:
    if number.unit == "%" and number.value is not None:
        return {number.value, number.value / 100}
    return {number.value}


def _number(text: str) -> tuple[Fraction, str | None] | None:
    """Exact value and unit of a plain number (`-1,000.50`, `$18`, `18 apples`, `3/4`, `1 1/2`), else None."""
    found = _NUMBER.fullmatch(text)
    if found is None or (found["before"] and found["sign"]):
        return None
    unit = None if found["unit"] is None else _unit(found["unit"].lower().strip(" ."))
    if found["currency"] and unit is None:
        unit = _unit(found["currency"])
    elif found["currency"] or (unit and _NO_UNIT.search(unit)):
        return None
    if found["value"] is not None:
        if found["whole"]:
            return None
        value = Fraction(found["value"].replace(",", "").rstrip(".").lower())
    else:
        top = found["top"] or found["t1"] or found["t2"]
        bottom = int((found["bottom"] or found["b1"] or found["b2"]).replace(",", ""))
        if bottom == 0:
            return None
        value = Fraction(int(top.replace(",", "")), bottom) + int(found["whole"] or 0)
    return -value if "-" in (found["before"], found["sign"]) else value, unit


def _unit(name: str) -> str:
    """One name for a unit's plural, signs and words."""
    if _DOLLAR.fullmatch(name):
        return "$"
    if _PERCENT.fullmatch(name):
        return "%"
    return name[:-1] if len(name) > 3 and name.endswith("s") else name


def _is_prose(text: str) -> bool:
    """Whether a text is words, which algebra would read as products of letters (`listen` = `silent`)."""
    words = [w for w in _WORD.findall(_ENVIRONMENT.sub("", text)) if not _FUNCTION.fullmatch(w)]
    return len(words) > 2 or (bool(words) and not _MATHEMATICAL.search(text))


def _is_object(text: str) -> bool:
    if not text.startswith(('{"', '{ "', '[{"')):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _spell_out(maths: str) -> str:
    """Plain-text mathematics in LaTeX."""
    maths = re.sub(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi ", maths)
    maths = re.sub(r"(?<![\\a-zA-Z])inf(?:inity)?(?![a-zA-Z])", r"\\infty ", maths)
    return maths.replace("**", "^")
