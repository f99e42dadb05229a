"""A world whose model also judges: it replies to checks, critiques, ratings and choices."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mull.strategies.self_critique import CRITIQUE, REVISE
from mull.strategies.verdict import CHECK
from mull.testing import Script, World
from mull.types import Chat, Sampling, Task, text_of

RATE = "Rate this answer from 0 to 10. Reply with the number alone."


@dataclass(frozen=True, kw_only=True)
class Talker(World):
    """Its opinions are right with probability `judges`, its revisions with `revises`.

    An opinion depends on the whole conversation, so that two conversations have opinions of their own.
    """

    judges: float = 1.0
    revises: float = 1.0
    place: int | None = None
    """Which place in a list or pair it chooses whatever stands there; by default, where a right answer is."""
    wordy: bool = False
    """Whether no two answers have the same text, as with larger models."""
    says: Mapping[str, Script] = field(default_factory=dict)
    """What it replies to some turns whatever it thinks: an empty critique, say."""
    given: Iterator[str] = field(default_factory=lambda: iter(()))
    """Its first answers, before it makes up its own."""

    def asked(self, number: int = 0) -> Task:
        """A question of its own for each number: other opinions, other samples."""
        task = self.task(seed=number)
        told = f"Take 1, {self.depth} times. (Question {number}, in {{braces}}.)"
        chat = Chat(messages=({"role": "user", "content": told},))
        return Task(chat=chat, sampling=task.sampling, reference=task.reference)

    def __call__(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        """An answer of the world, or the next one given."""
        given = next(self.given, None)
        written = super().__call__(text, rng, sampling) if given is None else given
        return f"{written} ({''.join(rng.choices('abcdefgh', k=9))})" if self.wordy else written

    def about(self, chat: Chat) -> Script:
        """What it says in a conversation."""
        turn = chat.question
        if turn in self.says:
            return self.says[turn]
        answer = text_of(chat.messages[-2].get("content")) if len(chat.messages) > 1 else ""
        if turn == CHECK:
            likes = self._likes(chat, answer)
            return Verdict({"Y": 0.9, "N": 0.1} if likes else {"Y": 0.2, "N": 0.8})
        if turn == RATE:
            return Says("9/10" if self._likes(chat, answer) else "I give it 3.")
        if turn == CRITIQUE:
            return Says("all correct." if self._likes(chat, answer) else "Line 1 is wrong.")
        if turn == REVISE:
            return Says(self._revised(chat))
        shown = re.findall(r"^Answer (\w+):\n(.*?)(?=\n\n)", turn, re.MULTILINE | re.DOTALL)
        if shown:
            return self._chosen(chat, dict(shown))
        return self

    def right(self, text: str) -> bool:
        """Whether an answer, whole or alone, gives the reference."""
        return re.search(rf"(?<!\d){self.reference}(?!\d)", text) is not None

    def _likes(self, chat: Chat, text: str) -> bool:
        return self.right(text) == (_chance(chat, text) < self.judges)

    def _revised(self, chat: Chat) -> str:
        answer = text_of(chat.messages[-4].get("content"))
        if _chance(chat, "revision") < self.revises:
            return "\n".join(["take 1"] * self.depth) + f"\n\\boxed{{{self.reference}}}"
        return f"{answer} Or \\boxed{{7}}, after all."

    def _chosen(self, chat: Chat, shown: Mapping[str, str]) -> Script:
        names = list(shown)
        if self.place is not None:
            chosen = [names[self.place]]
        else:
            chosen = [name for name in names if self._likes(chat, shown[name])]
        if not names[0].isalpha():
            return Says(
                f"I see {len(names)} of them. The right one is {chosen[0]}." if chosen else "None of them."
            )
        share = 0.5 if len(chosen) != 1 else 0.9 if chosen == ["A"] else 0.1
        return Verdict({"A": share, "B": 1 - share})


@dataclass(frozen=True)
class Says:
    """A script of one text."""

    said: str

    def __call__(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        """The rest of it."""
        return self.said.removeprefix(text)


@dataclass(frozen=True)
class Verdict:
    """A script of one letter, with its odds."""

    letters: Mapping[str, float]

    def __call__(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        """The likeliest."""
        return "" if text else max(self.letters, key=lambda letter: self.letters[letter])

    def odds(self, text: str) -> Mapping[str, float]:
        """Those of the first character."""
        return {} if text else self.letters


class Overheard:
    """A script that keeps the conversations."""

    def __init__(self, script: Talker) -> None:
        self.chats: list[Chat] = []
        self._script = script

    def __call__(self, text: str, rng: random.Random, sampling: Sampling) -> str:
        """As the script."""
        return self._script(text, rng, sampling)

    def about(self, chat: Chat) -> Script:
        """As the script."""
        self.chats.append(chat)
        return self._script.about(chat)


def told(chat: Chat) -> list[str]:
    """The texts of a conversation, with the initials of who said them."""
    return [f"{str(m.get('role'))[0]}: {text_of(m.get('content'))}" for m in chat.messages]


def boxed(*answers: int | str) -> Iterator[str]:
    """Answers that say no more than that."""
    return iter([rf"so \boxed{{{answer}}}" for answer in answers])


def _chance(chat: Chat, text: str) -> float:
    return random.Random(repr((chat.messages, text))).random()
