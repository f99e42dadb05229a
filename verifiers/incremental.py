"""Judge growing answers at the cost of what is new in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mull.memory import Memory, prefix_keys
from mull.verifiers.concurrency import together
from mull.verifiers.engine import Tail
from mull.verifiers.reading import Reading

T = TypeVar("T")


class Ask(Protocol):
    """A question to the engine about each token of a prompt."""

    def __call__(self, ids: Sequence[int], *, fresh: bool) -> Awaitable[Tail]:
        """Values of the tokens that the prefix cache does not have, or of all when `fresh`."""
        ...


@dataclass(slots=True)
class _Path:
    """One distinct answer on its way through the engine."""

    ids: list[int]
    spans: list[tuple[int, int]]
    """First and last token of each step."""
    keys: list[bytes]
    tokens: int = 0


class Incremental(Generic[T]):
    """Judges the steps of answers, each step once.

    The engine reads its prefix cache, so that it computes, and gives values for, new tokens only. The
    judgements of earlier steps come from a memory keyed by the exact tokens up to the step's end. Where the
    engine has a step in its cache and the memory has lost its judgement, the answer is computed afresh.

    Args:
        ask: The engine's question.
        judge: From the answer to it and a step's first and last token to the judgement; None if values are
            missing.
        memory: Judgements kept at most.
    """

    def __init__(self, ask: Ask, judge: Callable[[Tail, int, int], T | None], memory: int) -> None:
        self._ask = ask
        self._judge = judge
        self._memory: Memory[bytes, T] = Memory(memory)

    async def run(self, readings: Sequence[Reading | None]) -> list[tuple[tuple[T, ...], int] | None]:
        """The judgements of each reading's steps, in order, and the tokens computed for them.

        Copies cost nothing. None stands for a reading that is None or has no steps.
        """
        paths = [_path(reading) for reading in readings]
        unique = {path.keys[-1]: path for path in paths if path is not None}
        known: dict[bytes, T] = {}
        for path in unique.values():
            for key in path.keys:
                if (value := self._memory.get(key)) is not None:
                    known[key] = value
        await together(self._fetch(path, known, fresh=False) for path in _open(unique, known))
        # A path may have read from the cache what another one of this batch was computing; that is known by
        # now. What is still missing was judged before and forgotten.
        await together(self._fetch(path, known, fresh=True) for path in _open(unique, known))
        judged: list[tuple[tuple[T, ...], int] | None] = []
        for found in paths:
            if found is None:
                judged.append(None)
                continue
            path = unique[found.keys[-1]]
            judged.append((tuple(known[key] for key in path.keys), path.tokens))
            path.tokens = 0
        return judged

    async def _fetch(self, path: _Path, known: dict[bytes, T], *, fresh: bool) -> None:
        tail = await self._ask(path.ids, fresh=fresh)
        path.tokens += tail.computed
        for (first, last), key in zip(path.spans, path.keys, strict=True):
            if (value := self._judge(tail, first, last)) is not None:
                known[key] = value
                self._memory.put(key, value)


def _open(paths: dict[bytes, _Path], known: dict[bytes, T]) -> list[_Path]:
    """Paths with a step that is not judged yet."""
    return [path for path in paths.values() if any(key not in known for key in path.keys)]


def _path(reading: Reading | None) -> _Path | None:
    if reading is None or not reading.marks:
        return None
    ids = reading.ids[: reading.marks[-1] + 1]
    ends = [mark + 1 for mark in reading.marks]
    return _Path(
        ids, list(zip([reading.start, *ends[:-1]], reading.marks, strict=True)), prefix_keys(ids, ends)
    )
