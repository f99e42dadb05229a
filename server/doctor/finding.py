"""What was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    """`warn`: it works, though maybe not as meant; `fail`: it does not."""
    subject: str
    found: str
    remedy: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(level="ok", subject=subject, found=found)


def warn(subject: str, found: str, remedy: str) -> Finding:
    """It works, though maybe not as meant."""
    return Finding(level="warn", subject=subject, found=found, remedy=remedy)


def fail(subject: str, found: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(level="fail", subject=subject, found=found, remedy=remedy)


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of what needs doing."""
    counts = [(sum(f.level == level for f in findings), word) for level, word in LEVELS]
    said = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count]
    return ", ".join(said) or "nothing is wrong"


LEVELS: tuple[tuple[Level, str], ...] = (("fail", "error"), ("warn", "warning"))
