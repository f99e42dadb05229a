"""Fenced code blocks in an answer."""

from __future__ import annotations

import re

_OPENING = re.compile(r" {0,3}(`{3,}|~{3,})[^`]*$")
_CLOSING = re.compile(r" {0,3}([`~]{3,})[ \t]*$")


def last_block(text: str) -> str | None:
    """What is in the last fenced block that is closed; None if there is none.

    Read line by line: the time it takes grows with the text and no faster.
    """
    found, fence, body = None, "", list[str]()
    for line in text.split("\n"):
        if not fence:
            if opening := _OPENING.match(line):
                fence, body = opening[1], []
        elif (closing := _CLOSING.match(line)) and closing[1].startswith(fence):
            found, fence = "".join(f"{inner}\n" for inner in body), ""
        else:
            body.append(line)
    return found
