"""What wraps a generator, and passes on what it does not change."""

from __future__ import annotations

from mull.protocols import Generator
from mull.types import Chat, Prompt


class Around:
    """The inner generator's facts and prompts; how it samples is left to what derives from this.

    Args:
        inner: What is wrapped.
    """

    def __init__(self, inner: Generator) -> None:
        self._inner = inner
        self.model, self.continues = inner.model, inner.continues
        self.context, self.ends = inner.context, inner.ends

    async def render(self, chat: Chat) -> Prompt:
        """The inner one's prompt."""
        return await self._inner.render(chat)

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The inner one's longer prompt."""
        return await self._inner.append(prompt, text)
