"""Reward functions as TRL calls them: of texts, token ids and the columns of the rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import regex  # type: ignore[import-untyped]

from mull.answers.extract import boxed, without_thoughts
from mull.training.errors import TrainingError
from mull.training.rewards.truth import Truth

Message = dict[str, str]
SECONDS = 0.1
"""How long one regular expression may search one text."""


class RewardFunction(Protocol):
    """One reward an answer, in order.

    Args:
        prompts: Conversations up to the answer.
        completions: The answers, each a list of one assistant's message.
        completion_ids: Their token ids as sampled.
        columns: The other columns of the rows, by name.
    """

    __name__: str
    """What it is called in TRL's logs."""

    def __call__(
        self,
        *,
        prompts: Sequence[list[Message]],
        completions: Sequence[list[Message]],
        completion_ids: Sequence[list[int]],
        **columns: Any,
    ) -> list[float]: ...

    def close(self) -> None:
        """Let go of processes and threads."""
        ...


@dataclass(frozen=True)
class Context:
    """What reward functions share."""

    tokenizer: Any
    """The policy's."""
    truth: Truth

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether an answer came to its end: it was not cut off."""
        return bool(ids) and ids[-1] in self.tokenizer.all_special_ids

    def right(
        self,
        completions: Sequence[list[Message]],
        ids: Sequence[list[int]],
        columns: dict[str, Any],
        form: str,
    ) -> list[bool]:
        """Whether each answer came to its end and equals the row's `answer`."""
        references = columns.get("answer")
        if references is None or None in references:
            raise TrainingError("a reward compares with the field `answer`, which a row of the data lacks")
        verdicts = self.truth.right(texts_of(completions), references, form)
        return [good and self.ended(i) for good, i in zip(verdicts, ids, strict=True)]


def texts_of(completions: Sequence[list[Message]]) -> list[str]:
    """The text of each answer."""
    return [completion[-1]["content"] for completion in completions]


class CorrectReward:
    """1 for what is complete and equals the reference, else 0."""

    def __init__(self, context: Context, form: str) -> None:
        self.__name__ = "correct"
        self._context = context
        self._form = form

    def __call__(
        self, *, completions: Sequence[list[Message]], completion_ids: Sequence[list[int]], **columns: Any
    ) -> list[float]:
        return [float(r) for r in self._context.right(completions, completion_ids, columns, self._form)]

    def close(self) -> None:
        self._context.truth.close()


class ConciseReward:
    """Relative shortness within the answers to one prompt, as far as this process holds them."""

    def __init__(self, context: Context, form: str) -> None:
        self.__name__ = "concise"
        self._context = context
        self._form = form

    def __call__(
        self,
        *,
        prompts: Sequence[list[Message]],
        completions: Sequence[list[Message]],
        completion_ids: Sequence[list[int]],
        **columns: Any,
    ) -> list[float]:
        right = self._context.right(completions, completion_ids, columns, self._form)
        groups = defaultdict[str, list[int]](list)
        for number, prompt in enumerate(prompts):
            groups[json.dumps(prompt)].append(number)
        rewards = [0.0] * len(prompts)
        for members in groups.values():
            values = shortness([len(completion_ids[m]) for m in members], [right[m] for m in members])
            for member, value in zip(members, values, strict=True):
                rewards[member] = value
        return rewards

    def close(self) -> None:
        self._context.truth.close()


def shortness(lengths: Sequence[int], right: Sequence[bool]) -> list[float]:
    """Length reward of Kimi k1.5 (arXiv:2501.12599, section 2.3.3) for the answers to one prompt."""
    shortest, longest = min(lengths), max(lengths)
    if shortest == longest:
        return [0.0] * len(lengths)
    values = [0.5 - (length - shortest) / (longest - shortest) for length in lengths]
    return [value if good else min(0.0, value) for value, good in zip(values, right, strict=True)]


class FormatReward:
    """1 for answers in the expected form, else 0.

    Args:
        pattern: What the whole answer without thoughts matches; None for one box at the end.
    """

    def __init__(self, pattern: str | None) -> None:
        self.__name__ = "format"
        self._fits = one_box if pattern is None else _matcher(pattern)

    def __call__(self, *, completions: Sequence[list[Message]], **columns: Any) -> list[float]:
        return [float(self._fits(without_thoughts(text).strip())) for text in texts_of(completions)]

    def close(self) -> None:
        """Nothing to let go of."""


def one_box(text: str) -> bool:
    r"""Whether a text has exactly one `\boxed{}`, not empty, with nothing but punctuation after it."""
    body = text.rstrip(" \t\n.$)]\\")
    # A box that loses its brace with the last character ends there.
    return body.count("\\boxed") == 1 and boxed(body) is not None and boxed(body[:-1]) is None


def _matcher(pattern: str) -> Callable[[str], bool]:
    match = regex.compile(pattern).fullmatch

    def fits(text: str) -> bool:
        try:
            return match(text, timeout=SECONDS) is not None
        except TimeoutError:
            return False

    return fits


class TokenReward:
    """A reward of TRL that depends on token ids alone, under a name of ours."""

    def __init__(self, name: str, reward: Callable[..., list[float]]) -> None:
        self.__name__ = name
        self._reward = reward

    def __call__(self, *, completion_ids: Sequence[list[int]], **columns: Any) -> list[float]:
        return self._reward(completion_ids=completion_ids)

    def close(self) -> None:
        """Nothing to let go of."""
