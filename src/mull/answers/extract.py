"""Finding the final answer in a text: pure functions, each linear in the length of the text."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType

from mull.answers import calls, normal

TAIL = 4000
"""How much of a long text's end is searched for a phrase, a letter or a number, in characters."""

LONGEST_BOX = 20_000
"""Longer boxes count as never closed, in characters."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_PHRASE = re.compile(r"\b(?:answer|result)\b[*_]*(?:[ \t]*(?:is|are)\b|[ \t]*[:=])", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.;!?](?=\s)|\s(?:because|since)\b|\*\*")
_NUMBER = re.compile(
    r"(?:(?<![\w.)}])[-−])?"
    r"(?:\\[dt]?frac\s*\{\d+\}\s*\{\d+\}|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+|[eE][-+]?\d{1,3}\b)?|\.\d+)"
)
_LETTER = re.compile(r"(?:(?i:option|choice|answer)\s+)?\(?([A-Z])\)?(?=$|[\s.,:;)])|\(?([a-z])\)?$")
_LETTER_SAID = re.compile(
    r"\b(?i:answer|option|choice)\b[*_]*(?:[ \t]*(?i:is\b|[:=])[*_]*:?)?"
    r"\s*(?i:option\s+|choice\s+)?[*$]*\(?([A-Z])\)?"
    r"(?=[*$]*(?:$|\n|[.,:;)]|\s+(?:because|since|as)\b))"
)
_LETTER_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
_LETTER_ALONE = re.compile(r"[*$(]*([A-Z])[.:)*$]*")


def without_thoughts(text: str) -> str:
    """The text outside `<think>...</think>`; an unclosed thought swallows what follows it.

    Chat templates may open the thought in the prompt: text before a lone `</think>` is a thought too.
    """
    _, closed, rest = text.rpartition("</think>")
    return (rest if closed else text).partition("<think>")[0]


def boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{...}`, nested braces kept; None when it is empty or never closed."""
    start = None
    for match in _BOX.finditer(text):
        start = match.end()
    if start is None:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, start, start + LONGEST_BOX):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return normal.trim(text[start : brace.start()]) or None
    return None


def auto(text: str) -> str | None:
    """A box, else GSM8K's `#### x`, else a final-answer phrase, else a whole text of JSON or tool calls."""
    if _BOX.search(text):
        return boxed(text)
    if (hashed := _after_hashes(text)) is not None:
        return normal.trim(hashed) or None
    structured = text.strip()
    if structured.startswith(("{", "```", "<tool_call>")):
        whole = calls.tool_calls(structured) or calls.canonical_json(structured)
        if whole is not None and whole.startswith(("{", "[{")):
            return whole
    return _said(text[-TAIL:])


def _after_hashes(text: str) -> str | None:
    """What follows the last `####` if that begins the last line."""
    before, hashes, after = text.rstrip().rpartition("####")
    alone = hashes and "\n" not in after and (not before or before.endswith("\n"))
    return after if alone else None


def _said(text: str) -> str | None:
    end = None
    for match in _PHRASE.finditer(text):
        end = match.end()
    if end is None:
        return None
    line = text[end:].lstrip(" \t\n*_:").partition("\n")[0]
    cut = _SENTENCE_END.search(line)
    return normal.trim(line[: cut.start()] if cut else line) or None


def number(text: str) -> str | None:
    """The last number, without thousands separators; a fraction counts as one number."""
    last = None
    for match in _NUMBER.finditer(_up_to_last_digit(text)):
        last = match.group()
    if last is None:
        return None
    last = re.sub(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}", r"\1/\2", last)
    return last.replace(",", "").replace("−", "-")


def _up_to_last_digit(text: str) -> str:
    last = re.search(r"\d", text[::-1])
    if last is None:
        return ""
    end = len(text) - last.start()
    return text[max(0, end - TAIL) : end + 1]


def choice(text: str) -> str | None:
    """A letter: the boxed one, else the one said to be the answer, else the last `(X)`, else the text."""
    if _BOX.search(text):
        found = _LETTER.match(normal.unwrap(boxed(text) or ""))
        return (found.group(1) or found.group(2)).upper() if found else None
    text = text[-TAIL:]
    for pattern in (_LETTER_SAID, _LETTER_IN_BRACKETS):
        letters = pattern.findall(text)
        if letters:
            return str(letters[-1])
    alone = _LETTER_ALONE.fullmatch(text.strip())
    return alone.group(1) if alone else None


def whole(text: str) -> str | None:
    """The whole text with its white space normalised."""
    return " ".join(text.split()) or None


EXTRACTORS: MappingProxyType[str, Callable[[str], str | None]] = MappingProxyType(
    {
        "auto": auto,
        "boxed": boxed,
        "number": number,
        "choice": choice,
        "json": calls.canonical_json,
        "tool_call": calls.tool_calls,
        "text": whole,
    }
)
