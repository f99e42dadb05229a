"""The log: every line of a request carries the request's id, in text and as JSON Lines."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime


class Serving:
    """Lets the lines that are written inside carry a request's id.

    Tasks that outlive the request (an engine's reader, say, begun with its first call) carry it no longer.

    Args:
        request: The id.
    """

    def __init__(self, request: str) -> None:
        self.request: str | None = request

    def __enter__(self) -> Serving:
        self._before = _SERVING.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.request = None
        _SERVING.reset(self._before)


_SERVING: ContextVar[Serving | None] = ContextVar("mull_serving", default=None)


def request_id() -> str | None:
    """The id of the request that is being served."""
    serving = _SERVING.get()
    return None if serving is None else serving.request


class TextFormatter(logging.Formatter):
    """One line a record: time, level, logger, the request's id in brackets where there is one, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(request)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        request = request_id()
        record.request = "" if request is None else f" [{request}]"
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object a record: `time` (UTC), `level`, `logger`, `message`; `request` and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := request_id()) is not None:
            line["request"] = request
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, *, as_json: bool) -> None:
    """Log to standard error.

    Args:
        level: What is told: `debug`, `info`, `warning` or `error`.
        as_json: Whether as JSON Lines.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
