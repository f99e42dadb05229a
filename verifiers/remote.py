"""A verifier that is a service: one or many `mull verifier` workers over HTTP."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mull.errors import InvalidRequest, VerifierUnavailable
from mull.memory import Memory
from mull.types import Candidate, Score, Task, VerifierKind
from mull.verifiers.wire import ScoreRequest, ScoreResponse

if TYPE_CHECKING:
    import aiohttp

REST = 1.0
"""Seconds for which a worker that failed is asked last."""
CONNECT = 2.0
"""Seconds to connect to a worker."""


class _Failed(Exception):
    """A worker did not give scores; why, and for how long to leave it in peace."""

    def __init__(self, why: str, rest: float = REST) -> None:
        super().__init__(why)
        self.rest = rest


class _Worker:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.down_until = 0.0
        self.tokenizer: str | None = None


class RemoteVerifier:
    """Scores by asking workers.

    Conversations are dealt to the workers in turn, and each stays with its worker while that answers: its
    prefix cache and its step scores are there. When a worker fails (refuses, times out, answers 5xx or 429),
    the next one takes over at once, and the failed one is asked last until it has rested.

    Args:
        name: The verifier's name.
        urls: Base addresses of the workers, all of one model.
        kind: What they judge.
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
        timeout: float = 30.0,
        tokenizer: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not urls:
            raise ValueError("a remote verifier needs at least one worker")
        self.name = name
        self.kind: VerifierKind = kind
        self._workers = [_Worker(url) for url in urls]
        self._timeout = timeout
        self._tokenizer = tokenizer
        self._clock = clock
        self._turn = itertools.cycle(range(len(urls)))
        self._home: Memory[bytes, int] = Memory()
        self._session: aiohttp.ClientSession | None = None

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order.

        Raises:
            VerifierUnavailable: no worker answers.
            InvalidRequest: the workers refuse the request.
        """
        if not candidates:
            return []
        reasons = []
        for worker in self._order(task):
            try:
                response = await self._ask(worker, task, candidates)
            except _Failed as failed:
                worker.down_until = self._clock() + failed.rest
                reasons.append(f"{worker.url}: {failed}")
                continue
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
        for worker in self._workers:
            try:
                await self._call("GET", worker.url + "/health")
            except _Failed as failed:
                reasons.append(f"{worker.url}: {failed}")
            else:
                return
        raise self._unavailable(reasons)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _order(self, task: Task) -> list[_Worker]:
        """The workers to try: the conversation's own first, those that rest last."""
        text = json.dumps([dict(m) for m in task.chat.messages], sort_keys=True, default=str)
        key = blake2b(text.encode(errors="replace"), digest_size=16).digest()
        home = self._home.get(key)
        if home is None:
            home = next(self._turn)
            self._home.put(key, home)
        ring = self._workers[home:] + self._workers[:home]
        now = self._clock()
        return sorted(ring, key=lambda worker: worker.down_until > now)

    async def _ask(self, worker: _Worker, task: Task, candidates: Sequence[Candidate]) -> ScoreResponse:
        tokenizer = self._tokenizer if worker.tokenizer == self._tokenizer else None
        body = ScoreRequest.of(task, candidates, tokenizer)
        answer = await self._call("POST", worker.url + "/v1/score", body)
        try:
            response = ScoreResponse.model_validate_json(answer)
        except ValidationError as error:
            raise _Failed("its answer is not a list of scores") from error
        if response.kind != self.kind:
            raise _Failed(f"it is an {response.kind} verifier, not {self.kind}")
        if len(response.scores) != len(candidates):
            raise _Failed(f"{len(response.scores)} scores for {len(candidates)} candidates")
        return response

    async def _call(self, method: str, url: str, body: dict[str, Any] | None = None) -> bytes:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT),
                connector=aiohttp.TCPConnector(limit=0),
            )
        try:
            async with self._session.request(method, url, json=body, allow_redirects=False) as response:
                answer = await response.read()
                if response.status == 400:
                    raise _refusal(answer)
                if response.status != 200:
                    raise _Failed(f"status {response.status}", _rest(response.headers.get("Retry-After")))
                return answer
        except TimeoutError as error:
            raise _Failed("no answer in time") from error
        except aiohttp.ClientError as error:
            raise _Failed(str(error) or type(error).__name__) from error

    def _unavailable(self, reasons: Sequence[str]) -> VerifierUnavailable:
        return VerifierUnavailable(
            f"verifier {self.name!r}: no worker answers ({'; '.join(reasons)})", name=self.name
        )


def _refusal(answer: bytes) -> InvalidRequest:
    """The worker's error object as an error of ours."""
    try:
        error = json.loads(answer)["error"]
        return InvalidRequest(str(error["message"]), param=error.get("param"), code=error.get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return InvalidRequest("the verifier refuses the request")


def _rest(retry_after: str | None) -> float:
    """Seconds of a Retry-After header."""
    try:
        return max(REST, float(retry_after or REST))
    except ValueError:
        return REST
