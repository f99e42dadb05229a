"""The routes on which verifiers judge texts."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from mull.errors import NotFound, VerifierUnavailable, one_of
from mull.server.body import read_as
from mull.server.callers import Caller, caller_of
from mull.server.context import Context
from mull.server.errors import cause_of
from mull.server.judging.schema import RerankRequest, ScoreRequest
from mull.server.later import Later
from mull.server.metered import Metered
from mull.server.openapi import takes
from mull.types import Aggregation, Candidate, Score, Task

PATIENCE = 120.0
"""Seconds for judging, where the configuration limits none."""


class Judging:
    """Scores and ranks texts with the server's verifiers.

    Args:
        context: What the server runs on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> APIRouter:
        """Below `/v1`."""
        router = APIRouter()
        router.post("/score", openapi_extra=takes(ScoreRequest))(self.score)
        router.post("/rerank", openapi_extra=takes(RerankRequest))(self.rerank)
        return router

    async def score(self, request: Request) -> Response:
        """How good answers are, each by itself."""
        asked = await read_as(ScoreRequest, request, self._context.settings.limits)
        judged, caller = asked.judged(), caller_of(request)
        self._check(asked.model)

        async def work() -> dict[str, Any]:
            scores = await self._judge(asked.model, judged, caller)
            return {
                "id": f"score-{uuid.uuid4().hex}",
                "object": "list",
                "created": int(time.time()),
                "model": asked.model,
                "data": [_data(index, score, asked.aggregate) for index, score in enumerate(scores)],
                "usage": _usage(scores),
            }

        return Later(work)

    async def rerank(self, request: Request) -> Response:
        """The texts that answer a question best, best first."""
        asked = await read_as(RerankRequest, request, self._context.settings.limits)
        caller = caller_of(request)
        self._check(asked.model)

        async def work() -> dict[str, Any]:
            scores = await self._judge(asked.model, asked.judged(), caller)
            # What could not be judged ranks last; equals keep their order.
            ranked = sorted(enumerate(scores), key=lambda row: (not row[1].known, -row[1].value))
            return {
                "id": f"rerank-{uuid.uuid4().hex}",
                "object": "list",
                "model": asked.model,
                "results": [
                    {
                        "index": index,
                        "relevance_score": score.value if score.known else None,
                        **(
                            {"document": {"text": asked.documents[index].text}}
                            if asked.return_documents
                            else {}
                        ),
                    }
                    for index, score in ranked[: asked.top_n]
                ],
                "usage": _usage(scores),
            }

        return Later(work)

    def _check(self, name: str) -> None:
        backend = self._context.backend
        backend.check_started()
        if name not in backend.verifiers:
            raise NotFound(
                f"model: there is no verifier {name!r:.80}; known are {one_of(backend.verifiers)}",
                param="model",
                code="model_not_found",
            )

    async def _judge(
        self, name: str, judged: Sequence[tuple[Task, list[Candidate]]], caller: Caller
    ) -> list[Score]:
        """The scores of all candidates, in order.

        Raises:
            InvalidRequest: the verifier wants something that the request lacks, or refuses the conversation.
            VerifierUnavailable: it is down, or takes too long.
            LimitReached, Overloaded: there is no room.
        """
        texts = sum(len(candidates) for _, candidates in judged)
        admission = self._context.admission
        # Nothing is generated: verifiers read, and what they read is nobody's tokens.
        async with admission.turn(caller, request=uuid.uuid4().hex, cost=0.0, generations=texts):
            return await self._scores(name, judged)

    async def _scores(self, name: str, judged: Sequence[tuple[Task, list[Candidate]]]) -> list[Score]:
        seconds = self._context.settings.limits.seconds or PATIENCE
        with self._context.backend.verifiers.lease(name) as loaded:
            verifier = Metered(loaded.verifier, self._context.metrics)
            try:
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                    tasks = [group.create_task(verifier.score(*each)) for each in judged]
            except TimeoutError:
                raise VerifierUnavailable(
                    f"verifier {name!r} did not answer within {seconds:g} seconds", name=name
                ) from None
            except BaseExceptionGroup as failed:
                raise cause_of(failed) from failed
        return [score for task in tasks for score in task.result()]


def _data(index: int, score: Score, how: Aggregation | None) -> dict[str, Any]:
    value = score.value if how is None else score.reduce(how)
    return {
        "index": index,
        "object": "score",
        "score": value if score.known else None,
        "steps": list(score.steps),
    }


def _usage(scores: Sequence[Score]) -> dict[str, int]:
    """Tokens that the verifier computed; what it remembered is not among them."""
    tokens = sum(score.tokens for score in scores)
    return {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
