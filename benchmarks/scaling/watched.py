"""Engines of which it is known what each of their steps did and took."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scaling.costs import Step

if TYPE_CHECKING:
    from vllm.v1.core.sched.output import SchedulerOutput


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One step of an engine. Moments are those of `time.monotonic`, which all processes share."""

    begin: float
    end: float
    processor: float
    """Seconds of processor time that the engine had taken when it began."""
    decoding: int
    begun: int
    tokens: int
    more: bool
    """Whether there was something left to do after it."""


class Steps:
    """Where engines that were started meanwhile write what they do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def between(self, begin: float, end: float) -> list[list[Seen]]:
        """The steps of each engine that began in this time."""
        return [[s for s in _read(file) if begin <= s.begin < end] for file in sorted(self._folder.iterdir())]


@contextmanager
def watched() -> Iterator[Steps]:
    """Engines that are started meanwhile tell of their steps: being forked, they inherit this."""
    from vllm.v1.engine.core import EngineCore

    whole = EngineCore.step
    with tempfile.TemporaryDirectory() as folder:
        EngineCore.step = _telling(whole, Path(folder))
        try:
            yield Steps(Path(folder))
        finally:
            EngineCore.step = whole


def periods(steps: list[Seen]) -> list[Step]:
    """What it took from one step's begin to the next one's, where there was something to do all the time."""
    return [
        Step(
            decoding=a.decoding,
            begun=a.begun,
            tokens=a.tokens,
            seconds=b.processor - a.processor,
            wall=b.begin - a.begin,
        )
        for a, b in pairwise(steps)
        if a.more
    ]


def _telling(step: Any, folder: Path) -> Any:
    def told(core: Any) -> Any:
        scheduler, found = core.scheduler, list[Any]()
        schedule = scheduler.schedule

        def noted(*given: Any) -> Any:
            found.append(schedule(*given))
            return found[-1]

        scheduler.schedule = noted
        begin, processor = time.monotonic(), time.thread_time()
        try:
            return step(core)
        finally:
            end = time.monotonic()
            del scheduler.schedule
            if found and found[0].total_num_scheduled_tokens:
                more = bool(scheduler.get_num_unfinished_requests())
                _write(folder, (begin, end, processor), found[0], more)

    return told


def _write(folder: Path, when: tuple[float, float, float], output: SchedulerOutput, more: bool) -> None:
    new = {each.req_id for each in output.scheduled_new_reqs}
    new |= output.scheduled_cached_reqs.resumed_req_ids
    tokens = sum(output.num_scheduled_tokens[name] for name in new)
    decoding = len(output.num_scheduled_tokens) - len(new)
    line = " ".join(map(repr, (*when, decoding, len(new), tokens, int(more)))) + "\n"
    file = os.open(folder / f"{os.getpid():08}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


def _read(file: Path) -> Iterator[Seen]:
    for line in file.read_text().splitlines():
        begin, end, processor, *counts = line.split()
        decoding, begun, tokens, more = map(int, counts)
        yield Seen(
            begin=float(begin),
            end=float(end),
            processor=float(processor),
            decoding=decoding,
            begun=begun,
            tokens=tokens,
            more=bool(more),
        )
