"""Fenced code blocks in an answer."""

from __future__ import annotations

import re

BLOCK = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n`]*\n(.*?)^ {0,3}\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)


def last_block(text: str) -> str | None:
    """What is in the last fenced block that is closed; None if there is none."""
    blocks = BLOCK.findall(text)
    return blocks[-1][1] if blocks else None
