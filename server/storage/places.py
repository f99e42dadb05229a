"""Where a server keeps what outlives it: folders of its own, or a store that several servers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mull.server.batches.store import BatchStore
from mull.server.settings import Settings
from mull.server.storage.trace_files import TraceFiles
from mull.server.traces import Archive


@dataclass(frozen=True, kw_only=True)
class Places:
    """The places, each None where nothing is kept."""

    traces: Archive | None
    batches: BatchStore | None
    answers: Callable[[], bool] | None = None
    """Whether the shared store answered when it was asked last; None where there is none."""
    close: Callable[[], None] = lambda: None
    """Call it after all use."""


def places(settings: Settings) -> Places:
    """The places that the configuration names. SQLAlchemy is loaded only where one needs it."""
    if settings.store.url is not None:
        return _shared(settings, settings.store.url.get_secret_value())
    traces, batches = settings.traces, settings.batches
    archive, store = None, None
    if traces.dir is not None:
        archive = TraceFiles(traces.dir, max_count=traces.max_count, max_age=traces.max_age_days * 86_400)
    if batches.dir is not None:
        from mull.server.batches.sqlite import SQLiteStore

        store = SQLiteStore(batches.dir, lease=settings.store.lease)
    return Places(traces=archive, batches=store)


def _shared(settings: Settings, url: str) -> Places:
    from mull.server.batches.shared import SharedStore
    from mull.server.storage.postgres import shared
    from mull.server.storage.trace_tables import TraceTables

    database, traces = shared(url), settings.traces
    archive = TraceTables(database, max_count=traces.max_count, max_age=traces.max_age_days * 86_400)
    return Places(
        traces=archive if settings.store.traces else None,
        batches=SharedStore(database, lease=settings.store.lease),
        answers=lambda: database.trouble is None,
        close=database.close,
    )
