"""How errors are answered: counted, and in the shape that the clients of the route understand."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from mull.errors import InvalidRequest, MullError
from mull.server.errors import headers_of
from mull.server.messages.errors import body_for
from mull.server.metrics import Metrics
from mull.server.reply import as_json


class ErrorAnswers:
    """The answers to errors.

    Args:
        metrics: Where they are counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def install(self, app: FastAPI) -> None:
        """Answer the errors of this application."""
        app.add_exception_handler(MullError, self._deliberate)
        app.add_exception_handler(HTTPException, self._http)

    async def _deliberate(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, MullError)
        self._metrics.fail(error)
        return as_json(body_for(request.url.path, error), status=error.status, headers=headers_of(error))

    async def _http(self, request: Request, error: Exception) -> Response:
        """Unknown paths and methods."""
        assert isinstance(error, HTTPException)
        problem = InvalidRequest(
            f"{request.method} {request.url.path}: {error.detail.lower()}",
            code=error.detail.lower().replace(" ", "_"),
        )
        self._metrics.fail(problem, error.status_code)
        return as_json(
            body_for(request.url.path, problem), status=error.status_code, headers=dict(error.headers or {})
        )
