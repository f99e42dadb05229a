"""Final answers: found in a text, compared by meaning, grouped for a vote.

Extraction and the comparison of plain numbers and prose happen here; whatever takes algebra or a schema is
done in processes of their own, under hard limits, so that no answer can stall the server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

from mull.answers.extract import EXTRACTORS, without_thoughts
from mull.answers.fitting import Fitting, Found
from mull.answers.judge import Judge
from mull.answers.normal import Reading, read, same
from mull.errors import InvalidRequest, one_of
from mull.form import Form

KINDS = tuple(EXTRACTORS)
"""How a final answer can be found in a text."""

Weight = list[float] | bool | None
"""What the worker's `weigh` returned; None where it took too long."""

_CLOSE = 1e-5
_PATIENCE = 5
_REMEMBERED = 4096


class Answers:
    """Reads final answers and tells which are equal.

    Belongs to one event loop; safe to use from many tasks. Processes start with the first pair that needs
    algebra. Use as an async context manager, or call `close`.

    Args:
        workers: Processes that compare answers, at most.
        seconds: Processor time for reading or comparing; what takes longer counts as not equal.
        memory: Address space of each process, in bytes.
    """

    def __init__(self, *, workers: int = 2, seconds: float = 1.0, memory: int = 1 << 30) -> None:
        self._judge = Judge(workers=workers, seconds=seconds, memory=memory)
        self._schemas = Judge(workers=1, seconds=seconds, memory=memory, work="schemas")
        self._fitting = Fitting(self._schemas)
        self._patience = _PATIENCE * seconds
        self._known: dict[tuple[str, ...], Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the processes."""
        await self._judge.close()
        await self._schemas.close()

    async def check(self, form: Form) -> None:
        """Check the schemas of a form.

        Raises:
            InvalidRequest: naming one that is no JSON Schema.
        """
        await self._fitting.check(form)

    async def find(self, text: str, kind: str = "auto", form: Form | None = None) -> Found:
        """The final answer in a text that has a form, and whether the text is what the form demands.

        Thoughts do not count. Tool calls are answers by their names and arguments, whatever the kind; where
        JSON is demanded, `auto` takes it whole. What is not as demanded abstains.

        Raises:
            InvalidRequest: an unknown kind.
        """
        form = form or Form()
        if form.plain and form.json is None:
            return Found(answer=await self.extract(form.begun + text, kind))
        extract = None if form.json is not None and kind in ("auto", "json") else _extractor(kind)
        return await self._fitting.find(text, extract, form)

    async def extract(self, text: str, kind: str = "auto") -> str | None:
        r"""The final answer in a text, or None: it then abstains.

        Args:
            text: What a model wrote; what it thought (`<think>...</think>`) does not count.
            kind: `boxed` (the last `\boxed{}`), `number` (the last one), `choice` (a letter), `json` and
                `tool_call` (canonical spelling), `text` (all of it), or `auto`: a box, else `#### x`, else
                "the answer is x", else JSON or a tool call when the text is nothing else.

        Raises:
            InvalidRequest: an unknown kind.
        """
        return _extractor(kind)(without_thoughts(text))

    async def equal(self, a: str, b: str) -> bool:
        """Whether two answers mean the same."""
        left, right = read(a), read(b)
        known = same(left, right)
        return bool((await self._ask("equal", *_ordered(left, right)))[0]) if known is None else known

    async def group(
        self, answers: Sequence[str | None], *, seconds: float | None = None, exact: bool = False
    ) -> list[int | None]:
        """Classes of equal answers, numbered by first appearance; None abstains.

        Equality is closed transitively over all pairs, so the classes do not depend on the order of the
        answers. One call spends a bounded time on algebra, at most `seconds` by the clock if they are given;
        pairs left over then count as different. With `exact`, only the same spelling is equal.
        """
        if exact:
            known: dict[str, int] = {}
            return [None if a is None else known.setdefault(a, len(known)) for a in answers]
        readings = [None if a is None else read(a) for a in answers]
        classes = _Classes()
        first: dict[object, str] = {}
        costly: dict[str, Reading] = {}
        for reading in readings:
            if reading is None:
                continue
            # Bare numbers are told apart by value alone; what is neither number nor formula by its text.
            bare = reading.value is not None and reading.unit is None
            classes.join(
                reading.text, first.setdefault(reading.value if bare else reading.text, reading.text)
            )
            if reading.maths and not bare:
                costly[reading.text] = reading
        if costly and seconds != 0:
            bare_ones = {
                r.value: r for r in readings if r is not None and r.value is not None and r.unit is None
            }
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._join_costly(list(costly.values()), list(bare_ones.values()), classes)
        numbers: dict[str, int] = {}
        return [None if r is None else numbers.setdefault(classes.of(r.text), len(numbers)) for r in readings]

    async def _join_costly(self, costly: list[Reading], bare: list[Reading], classes: _Classes) -> None:
        """Join the classes of all equal pairs of which at least one is not a bare number."""
        weights = await self._weigh([*costly, *bare])
        spent, overruns = 0.0, Counter[str]()
        for i, a in enumerate(costly):
            await asyncio.sleep(0)
            for b in (*costly[i + 1 :], *bare):
                if classes.of(a.text) == classes.of(b.text):
                    continue
                equal = same(a, b)
                if equal is None and _may_equal(weights[a.text], weights[b.text]):
                    hopeless = overruns[a.text] > 1 or overruns[b.text] > 1
                    if hopeless or spent >= self._patience:
                        continue
                    equal, seconds = await self._ask("equal", *_ordered(a, b))
                    spent += seconds
                    if equal is None:
                        overruns.update((a.text, b.text))
                if equal:
                    classes.join(a.text, b.text)

    async def _weigh(self, readings: list[Reading]) -> dict[str, Weight]:
        """What each answer is worth alone: a hostile one costs one time limit here, not one a pair."""
        spent, weights = 0.0, dict[str, Weight]()
        for reading in readings:
            if reading.value is not None:
                weights[reading.text] = _float(reading.value)
            elif spent < self._patience:
                weights[reading.text], seconds = await self._ask("weigh", reading.maths)
                spent += seconds
            else:
                weights[reading.text] = None
        return weights

    async def _ask(self, *request: str) -> tuple[Any, float]:
        """The judge's verdict, remembered."""
        if request in self._known:
            return self._known[request], 0.0
        result, seconds = await self._judge.ask(*request)
        self._known[request] = result
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return result, seconds


def _extractor(kind: str) -> Callable[[str], str | None]:
    extractor = EXTRACTORS.get(kind)
    if extractor is None:
        raise InvalidRequest(
            f"unknown kind of answer {kind!r}; allowed are {one_of(KINDS)}", param="ttc.answer"
        )
    return extractor


def _ordered(a: Reading, b: Reading) -> tuple[str, str]:
    return (a.maths, b.maths) if a.maths <= b.maths else (b.maths, a.maths)


def _float(value: Fraction) -> Weight:
    try:
        return [float(value), 0.0]
    except OverflowError:
        return False


def _may_equal(a: Weight, b: Weight) -> bool:
    """Whether a pair is worth comparing: both can be read, and values, where both have one, are close."""
    if not a or not b:
        return False
    if a is True or b is True:
        return True
    left, right = complex(*a), complex(*b)
    return abs(left - right) <= _CLOSE * max(1.0, abs(left), abs(right))


class _Classes:
    """Disjoint sets of texts, each known by one of its members."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, text: str) -> str:
        parent = self._parent
        parent.setdefault(text, text)
        while parent[text] != text:
            parent[text] = text = parent[parent[text]]
        return text

    def join(self, a: str, b: str) -> None:
        self._parent[self.of(a)] = self.of(b)
