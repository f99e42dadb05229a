"""A verifier that is a service: one or many `mull verifier` workers over HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from mull.engines.addresses import addresses
from mull.engines.connection import Connection
from mull.engines.routing import choose, root_of
from mull.errors import EngineUnavailable, VerifierUnavailable
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.wire import ScoreRequest, ScoreResponse

REST = 1.0
"""Seconds for which a worker that failed is asked last, at least."""
FOUND = 3.0
"""Seconds for which the addresses behind a name hold."""

log = logging.getLogger(__name__)


class _Worker:
    def __init__(self, url: str, timeout: float) -> None:
        self.name = url.rstrip("/")
        self.connection = Connection(self.name, subject="the worker", api_key=None, timeout=timeout)
        self.in_flight = 0
        self.down_until = 0.0
        self.tokenizer: str | None = None


class RemoteVerifier:
    """Scores by asking workers.

    A conversation stays with one worker while that answers and has no more to do than others: its prefix
    cache and its step scores are there. When a worker fails (refuses, times out, answers 5xx or 429), the
    next one takes over at once, and the failed one is asked last until it has rested.

    Args:
        name: The verifier's name.
        urls: Base addresses of the workers, all of one model.
        kind: What they judge.
        discover: Whether each address that the host of a URL resolves to is a worker.
        timeout: Seconds for one worker to answer.
        tokenizer: Fingerprint of the policies' tokenizer. Sampled token ids are sent to workers that have it.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        kind: VerifierKind,
        discover: bool = False,
        timeout: float = 30.0,
        tokenizer: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not urls:
            raise ValueError("a remote verifier needs at least one worker")
        self.name = name
        self.kind: VerifierKind = kind
        self._names = tuple(urls) if discover else ()
        self._found_until = -float("inf")
        self._timeout = timeout
        self._workers = [] if discover else [_Worker(url, timeout) for url in urls]
        self._gone: list[_Worker] = []
        self._finding = asyncio.Lock()
        self._tokenizer = tokenizer
        self._clock = clock

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order.

        Raises:
            VerifierUnavailable: no worker answers.
            InvalidRequest: the workers refuse the request.
        """
        if not candidates:
            return []
        reasons = []
        for worker in await self._order(task):
            worker.in_flight += 1
            try:
                response = await self._ask(worker, task, candidates)
            except EngineUnavailable as failed:
                worker.down_until = self._clock() + max(REST, failed.retry_after)
                reasons.append(self._note(worker, failed))
                continue
            finally:
                worker.in_flight -= 1
            worker.down_until = 0.0
            worker.tokenizer = response.tokenizer
            return [each.score() for each in response.scores]
        raise self._unavailable(reasons)

    async def check(self) -> None:
        """Ask whether any worker is healthy.

        Raises:
            VerifierUnavailable: none is.
        """
        reasons = []
        await self._find()
        for worker in self._workers:
            try:
                await worker.connection.get("/health")
            except EngineUnavailable as failed:
                reasons.append(self._note(worker, failed))
            else:
                return
        raise self._unavailable(reasons)

    async def close(self) -> None:
        """Close the connections."""
        for worker in (*self._workers, *self._gone):
            await worker.connection.close()

    async def _order(self, task: Task) -> list[_Worker]:
        """The workers to try: the conversation's own first, those that rest last."""
        await self._find()
        if len(self._workers) == 1:
            return list(self._workers)
        now, left, order = self._clock(), list(self._workers), list[_Worker]()
        awake = [worker for worker in left if worker.down_until <= now]
        root = root_of(task.chat)
        for group in (awake, [worker for worker in left if worker not in awake]):
            while group:
                order.append(chosen := choose(group, root))
                group.remove(chosen)
        return order

    async def _find(self) -> None:
        """See who there is, if that is to be found out and was not just now."""
        if not self._names or self._clock() < self._found_until:
            return
        async with self._finding:
            if self._clock() >= self._found_until:
                await self._look_up()
                self._found_until = self._clock() + FOUND

    async def _look_up(self) -> None:
        try:
            urls = [url for name in self._names for url in await addresses(name.rstrip("/"))]
        except OSError as error:
            log.warning("verifier %s: its workers cannot be found: %s", self.name, error)
            return
        known = {worker.name: worker for worker in self._workers}
        self._workers = [known[url] if url in known else _Worker(url, self._timeout) for url in urls]
        self._gone += [worker for url, worker in known.items() if url not in urls]
        for worker in [worker for worker in self._gone if not worker.in_flight]:
            self._gone.remove(worker)
            await worker.connection.close()

    def _note(self, worker: _Worker, failed: EngineUnavailable) -> str:
        """Log where a worker is that failed, which is nobody else's business; why it failed is."""
        log.warning("verifier %s, %s: %s", self.name, worker.name, failed.message)
        return failed.message

    async def _ask(self, worker: _Worker, task: Task, candidates: Sequence[Candidate]) -> ScoreResponse:
        tokenizer = self._tokenizer if worker.tokenizer == self._tokenizer else None
        body = ScoreRequest.of(task, candidates, tokenizer)
        answer = await worker.connection.post("/v1/score", body)
        try:
            response = ScoreResponse.model_validate(answer)
        except ValidationError as error:
            raise EngineUnavailable("the worker failed: its answer is not a list of scores") from error
        if response.kind != self.kind:
            raise EngineUnavailable(f"the worker is an {response.kind} verifier, not {self.kind}")
        if len(response.scores) != len(candidates):
            raise EngineUnavailable(
                f"the worker failed: {len(response.scores)} scores for {len(candidates)} candidates"
            )
        return response

    def _unavailable(self, reasons: Sequence[str]) -> VerifierUnavailable:
        return VerifierUnavailable(
            f"verifier {self.name!r}: no worker answers ({'; '.join(reasons) or 'none is known'})",
            name=self.name,
        )
