"""Scripted models that take notice of what a conversation shows them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from mull.testing import Script, ScriptedGenerator, World
from mull.types import Chat, Sampling, text_of

Choose = Callable[[Sequence[str]], str]
"""Which of the answers shown it gives."""

BOX = re.compile(r"\\boxed\{(\d*)\}")


def says(text: str) -> Script:
    """A script that always writes this."""
    return lambda path, rng, sampling: text.removeprefix(path) if text.startswith(path) else ""


def everything(chat: Chat) -> str:
    """The text of all messages."""
    return "\n".join(text_of(message.get("content")) for message in chat.messages)


def answers_in(chat: Chat) -> list[str]:
    """The answers that a conversation shows."""
    return BOX.findall(everything(chat))


def reader(world: World, choose: Choose, **options: object) -> ScriptedGenerator:
    """A model that answers as the world does, or chooses among the answers that it is shown."""

    def talk(chat: Chat) -> Script:
        shown = answers_in(chat)
        return says(f"So \\boxed{{{choose(shown)}}}") if shown else world

    return ScriptedGenerator(world, talk=talk, **options)  # type: ignore[arg-type]


def knowing(world: World) -> Choose:
    """Recognises the right answer; without it, the last one shown is as good as any."""
    return lambda shown: world.reference if world.reference in shown else shown[-1]


def parrot(shown: Sequence[str]) -> str:
    """Repeats the first answer shown."""
    return shown[0]


def crowd(shown: Sequence[str]) -> str:
    """Gives the answer shown most often, the first of them in a tie."""
    return max(shown, key=shown.count)


def silent(text: str, rng: random.Random, sampling: Sampling) -> str:
    """Never gives an answer."""
    return "I do not know."
