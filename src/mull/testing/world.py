"""A small world of multi-step questions in which everything that matters is known."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mull.types import Chat, Sampling, Task

DELIMITER = "\n"
"""What ends a step in the texts of this package."""


class Script(Protocol):
    """What a scripted model would write: a pure function of its arguments."""

    def __call__(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        """The rest of the answer that has begun with `text`, up to the end of sequence."""
        ...


@runtime_checkable
class Dialogue(Protocol):
    """A script that reads the conversation."""

    def about(self, chat: Chat) -> Script:
        """What it follows in a conversation; pure."""
        ...


@runtime_checkable
class Odds(Protocol):
    """A script that says how likely its characters are."""

    def odds(self, text: str) -> Mapping[str, float]:
        """The probabilities of those that may follow `text`; empty where it does not say; pure."""
        ...


@dataclass(frozen=True, kw_only=True)
class World:
    r"""Sums of digits: at each of `depth` steps the model takes a digit, and taking 1 is right.

    An answer is the steps `take 1\n`, one a line, and `\boxed{...}` with the digits as one number, so that
    different paths are different answers and the right one is `11...1`. The digits 0 to `branches - 1` are
    drawn with 1 having probability `skill` and the others the rest in equal parts; at temperature 0 the most
    likely digit is taken. Whatever the sampling, a path is right with probability `skill ** depth`
    (`p_right`) and a search with a perfect verifier can always find it.
    """

    depth: int = 3
    branches: int = 3
    skill: float = 0.5
    rambling: float = 0.0
    """Probability that an answer, its steps done, never ends."""
    silent: float = 0.0
    """Probability that an answer ends without a box."""
    broken: float = 0.0
    """Probability that the box is never closed."""

    @property
    def reference(self) -> str:
        """The right answer."""
        return "1" * self.depth

    @property
    def p_right(self) -> float:
        """Probability that one sample is right (and complete)."""
        return float(self.skill**self.depth * (1 - self.rambling - self.silent - self.broken))

    def task(
        self,
        *,
        seed: int | None = 0,
        max_tokens: int | None = 200,
        temperature: float | None = 1.0,
        n: int = 1,
    ) -> Task:
        """The question of this world as a request's task."""
        return Task(
            chat=Chat(messages=({"role": "user", "content": f"Take 1, {self.depth} times."},)),
            sampling=Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed),
            n=n,
            reference=self.reference,
        )

    def __call__(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        """The rest of an answer; this makes a world a `Script`."""
        *steps, partial = text.split(DELIMITER)
        greedy = sampling.temperature == 0
        written = ""
        while len(steps) < self.depth:
            fitting = [d for d in range(self.branches) if _step(d).startswith(partial)]
            if not fitting:
                return ""
            digit = self._digit(fitting, rng, greedy)
            steps.append(_step(digit))
            written += _step(digit)[len(partial) :] + DELIMITER
            partial = ""
        ending = self._ending("".join(digits_of(DELIMITER.join(steps))), rng, greedy)
        return written + (ending[len(partial) :] if ending.startswith(partial) else "")

    def _digit(self, fitting: Sequence[int], rng: random.Random, greedy: bool) -> int:
        other = (1 - self.skill) / max(1, self.branches - 1)
        weights = [self.skill if d == 1 else other for d in fitting]
        if greedy:
            return max(zip(weights, fitting, strict=True), key=lambda w: w[0])[1]
        return rng.choices(fitting, weights)[0]

    def _ending(self, digits: str, rng: random.Random, greedy: bool) -> str:
        drawn = 1.0 if greedy else rng.random()
        for probability, ending in (
            (self.rambling, "well " * 1_000),
            (self.silent, "That is all."),
            (self.broken, f"\\boxed{{{digits}"),
        ):
            if drawn < probability:
                return ending
            drawn -= probability
        return f"\\boxed{{{digits}}}"


def _step(digit: int) -> str:
    return f"take {digit}"


def digits_of(text: str) -> list[str]:
    """The digits taken so far in an answer of a `World`, step by step."""
    return re.findall(r"^take (\d+)$", text, re.MULTILINE)
