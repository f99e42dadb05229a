"""The requests that are being solved now: what they do, and who watches them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

from mull.run import Run
from mull.server.callers import Caller
from mull.server.pool import Loaded
from mull.server.service import Job, Served
from mull.trace import Node

PROCESSING = 102
"""Status of a request that is not over."""

Phase = Literal["starting", "generating", "verifying", "deciding"]


class Watcher:
    """What one reader of a running request has not been told yet.

    Of each node only the newest state is kept, so that a slow reader costs no more than the search itself.

    Args:
        nodes: The nodes so far.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._changed = {node.id: node for node in nodes}
        self._served: Served | None = None
        self._news = asyncio.Event()
        self._news.set()

    def tell(self, node: Node) -> None:
        """Note a node that is new or has changed."""
        self._changed[node.id] = node
        self._news.set()

    def end(self, served: Served) -> None:
        """Note that the request is over."""
        self._served = served
        self._news.set()

    async def news(self) -> tuple[list[Node], Served | None]:
        """Wait for news: the nodes that changed, parents first, and what came of it once it is over."""
        await self._news.wait()
        self._news.clear()
        changed, self._changed = self._changed, {}
        return [changed[id] for id in sorted(changed)], self._served


class Running:
    """One request while it is solved.

    Args:
        job: What is solved and how.
        run: The search.
        verifier: The version of the verifier that it uses.
        verifying: Whether the verifier is at work for it now.
    """

    def __init__(self, job: Job, run: Run, verifier: Loaded | None, verifying: Callable[[], bool]) -> None:
        self.job = job
        self.run = run
        self.started = time.time()
        self._verifier = verifier
        self._verifying = verifying
        self._watchers: set[Watcher] = set()
        self._served: Served | None = None
        run.trace.listen(self._tell)

    @property
    def phase(self) -> Phase:
        """What it does now."""
        if not self.job.begun.is_set():
            return "starting"
        if self.run.budget.reserved:
            return "generating"
        return "verifying" if self._verifying() else "deciding"

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Be told its nodes, those so far first, and its end."""
        watcher = Watcher(self.run.trace.nodes)
        if self._served is not None:  # it ended before anybody began to read
            watcher.end(self._served)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def so_far(self) -> Served:
        """What could be recorded of it now."""
        return Served(
            job=self.job,
            run=self.run,
            solved=None,
            status=PROCESSING,
            error=None,
            verifier=self._verifier,
            seconds=self.run.budget.seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """It as lists show it; nothing of what was written."""
        run, plan = self.run, self.job.plan
        return {
            "id": self.job.id,
            "object": "ttc.running",
            "created": self.job.created,
            "model": plan.model,
            "strategy": plan.name,
            "verifier": plan.verifier,
            "batch": self.job.caller.batch,
            "phase": self.phase,
            "started": round(self.started, 3),
            "seconds": round(run.budget.seconds, 3),
            "tokens": run.budget.tokens,
            "samples": run.budget.samples,
            "verifier_calls": run.verifier_calls,
            "verifier_tokens": run.verifier_tokens,
            "nodes": len(run.trace.nodes),
            "budget": asdict(plan.limits),
            "watchers": len(self._watchers),
        }

    def end(self, served: Served) -> None:
        """Tell everybody who watches that it is over, and who comes later still."""
        self._served = served
        for watcher in self._watchers:
            watcher.end(served)

    def _tell(self, node: Node) -> None:
        for watcher in self._watchers:
            watcher.tell(node)


class RunningRequests:
    """All requests that one server is solving."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._left = asyncio.Event()

    def begin(self, job: Job, run: Run, verifier: Loaded | None, verifying: Callable[[], bool]) -> None:
        """Add one that begins: see `Running`."""
        self._running[job.id] = Running(job, run, verifier, verifying)

    def end(self, served: Served) -> None:
        """Remove one that is over, and tell who watches it."""
        self._running.pop(served.job.id).end(served)
        self._left.set()

    def find(self, name: str, caller: Caller) -> Running | None:
        """The one of this id; None where there is none that the caller may read."""
        found = self._running.get(name)
        return found if found is not None and caller.may_read(found.job.caller.owner) else None

    def of(self, caller: Caller) -> list[Running]:
        """Those that a caller may read, oldest first."""
        return [found for found in self._running.values() if caller.may_read(found.job.caller.owner)]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._running)

    def halt(self) -> None:
        """Let all of them end now, each with the best that it has."""
        for running in self._running.values():
            running.run.budget.halt("shutdown")

    @property
    def interactive(self) -> int:
        """How many of them somebody waits for: all but the lines of batches."""
        return sum(found.job.caller.batch is None for found in self._running.values())

    async def fewer_than(self, most: int) -> None:
        """Wait until fewer interactive requests than `most` are running."""
        while self.interactive >= most:
            self._left.clear()
            await self._left.wait()
