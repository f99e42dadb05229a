"""An engine that answers at once, so that what is measured is mull."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import cached_property

from mull.types import Chat, Chunk, Completion, Meter, Prompt, Sampling, Usage

STEP = 12
"""Tokens of a step."""
VARIANTS = 64


@dataclass(frozen=True)
class Instant:
    """Implements `mull.protocols.Generator`: steps of one length, each answer as many as it should have."""

    depth: int = 6
    prompt: int = 64
    """Tokens of a question."""
    model = "instant"
    context = 1 << 20
    continues = True
    ends = frozenset({0})

    async def render(self, chat: Chat) -> Prompt:
        """The question, whatever it is."""
        return Prompt(chat=chat, ids=tuple(range(1, self.prompt + 1)))

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text."""
        return prompt.append(text, tuple(range(1, STEP + 1)))

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        """All of them at the next turn of the event loop."""
        await asyncio.sleep(0)
        length = len(prompt.ids or ())
        for index in range(n):
            text, ids, ended = self._next((sampling.seed or 0) + index, prompt, whole=sampling.step is None)
            usage = Usage(prompt=length, cached=length, completion=len(ids))
            if meter is not None:
                meter.add(usage)
            yield Completion(text=text, ids=ids, finish="stop" if ended else "step", index=index, usage=usage)

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """The whole of it."""
        async for completion in self.sample(prompt, sampling, meter=meter):
            yield Chunk(text=completion.text, completion=completion)

    def _next(self, seed: int, prompt: Prompt, *, whole: bool) -> tuple[str, tuple[int, ...], bool]:
        variant = seed * 2654435761 % 2**32 % VARIANTS
        if whole:
            return *self._whole[variant], True
        text, ids = self._steps[variant]
        if prompt.generated >= STEP * (self.depth - 1):
            return f"The answer is \\boxed{{{variant % 7}}}.", ids, True
        return text, ids, False

    @cached_property
    def _steps(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(f"Step {v} of them is {v}\n", (v, *range(2, STEP + 1))) for v in range(1, VARIANTS + 1)]

    @cached_property
    def _whole(self) -> list[tuple[str, tuple[int, ...]]]:
        return [
            (text * (self.depth - 1) + f"The answer is \\boxed{{{ids[0] % 7}}}.", ids * self.depth)
            for text, ids in self._steps
        ]
