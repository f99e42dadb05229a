"""Whether answers are right, asked from code that is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from mull.answers import Answers


class Truth:
    """Compares final answers with references by mathematical equality.

    One event loop, and with it the processes that do algebra, lives until `close`. Not for use in coroutines.

    Args:
        seconds: Processor time for one comparison; what takes longer is not equal.
    """

    def __init__(self, *, seconds: float = 1.0) -> None:
        self._runner = asyncio.Runner()
        self._closed = False
        self._answers = Answers(seconds=seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def right(self, texts: Sequence[str], references: Sequence[str], form: str = "auto") -> list[bool]:
        """Whether the final answer in each text equals its reference; one without an answer does not.

        Raises:
            InvalidRequest: an unknown form.
        """
        return self._runner.run(self._right(list(zip(texts, references, strict=True)), form))

    async def _right(self, pairs: list[tuple[str, str]], form: str) -> list[bool]:
        found = [(await self._answers.extract(text, form), reference) for text, reference in pairs]
        # A group samples few different answers: each is compared once.
        unique = list(dict.fromkeys(found))
        verdicts = await asyncio.gather(*(self._equal(*pair) for pair in unique))
        known = dict(zip(unique, verdicts, strict=True))
        return [known[pair] for pair in found]

    async def _equal(self, answer: str | None, reference: str) -> bool:
        return answer is not None and await self._answers.equal(answer, reference)

    def close(self) -> None:
        """End the processes and the loop; may be called again."""
        if not self._closed:
            self._closed = True
            self._runner.run(self._answers.close())
            self._runner.close()
