"""GET /v1/ttc/bench: what the last `mull bench` measured."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import Response
from pydantic_core import from_json

from mull.errors import MullError, NotFound
from mull.server.reply import as_json

REPORT = "report.json"


class Measured:
    """The route of the last measurements.

    Args:
        folder: What `mull bench --out` wrote, or a folder of such folders; None where there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def bench(self) -> Response:
        """The newest report: setting, runs with accuracy and costs, comparisons."""
        if self._folder is None:
            raise NotFound(
                "no measurements: set bench_dir in the configuration (MULL_BENCH_DIR) to a folder that "
                "`mull bench --out` wrote",
                code="bench_not_configured",
            )
        return as_json({"object": "ttc.bench", **await asyncio.to_thread(newest, self._folder)})


def newest(folder: Path) -> dict[str, Any]:
    """The last report in a folder or in one of the folders in it.

    Raises:
        NotFound: there is none.
        MullError: it cannot be read.
    """
    found = [path for path in (folder / REPORT, *folder.glob(f"*/{REPORT}")) if path.is_file()]
    if not found:
        raise NotFound(f"no measurements: bench_dir has no {REPORT} yet", code="bench_not_found")
    try:
        report = from_json(max(found, key=lambda path: path.stat().st_mtime).read_bytes())
    except (OSError, ValueError) as error:
        raise MullError(f"the last {REPORT} in bench_dir cannot be read: {error}") from None
    if not isinstance(report, dict):
        raise MullError(f"the last {REPORT} in bench_dir is not a report")
    return report
