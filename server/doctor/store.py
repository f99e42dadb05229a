"""The store that several servers share."""

from __future__ import annotations

from collections.abc import Iterator

from mull.server.doctor.finding import Finding, fail, ok, warn
from mull.server.settings import Settings


def look(settings: Settings) -> Iterator[Finding]:
    """Ask the store, where one is configured."""
    if settings.store.url is None:
        return
    from mull.server.storage.postgres import trouble

    if (why := trouble(settings.store.url.get_secret_value())) is None:
        yield ok("store.url", "the store answers")
    else:
        yield fail(
            "store.url",
            f"the store cannot be used: {why}",
            "start it, or correct the url; until then traces, files and batches are answered 503",
        )
    for section in ("traces", "batches"):
        if getattr(settings, section).dir is not None:
            yield warn(
                f"{section}.dir",
                "nothing is kept there, since store.url is set",
                "leave one of them out",
            )
