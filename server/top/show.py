"""A picture of a server on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mull.server.ask.show import printable
from mull.server.top.picture import Picture


def show(picture: Picture, url: str) -> Group:
    """All of it, the requests that run last, the oldest of them first."""
    parts: list[RenderableType] = [_head(picture, url)]
    if picture.ready:
        parts += ["", _engines(picture), "", _verifiers(picture), "", _running(picture)]
    return Group(*parts)


def _head(picture: Picture, url: str) -> Text:
    line = Text(printable(url), style="bold")
    if not picture.ready:
        return line.append(f"  {printable(picture.problem or 'not ready')}", style="red")
    line.append("  ready", style="green")
    speed = picture.tokens_per_second
    parts = [
        f"{len(picture.running)} running",
        *([] if speed is None else [f"{speed:.0f} tokens/s"]),
        f"{picture.generated:.0f} tokens so far",
        *(f"{number} × {status}" for status, number in sorted(picture.finished.items())),
    ]
    return line.append("  " + " · ".join(parts), style="not bold")


def _table(*titles: str) -> Table:
    return Table(*titles, box=None, pad_edge=False, header_style="dim")


def _engines(picture: Picture) -> Table:
    table = _table("model", "replicas", "requests", "in the engine", "queue", "cache")
    for name, gauges in sorted(picture.engines.items()):
        cache = gauges.get("cache")
        table.add_row(
            Text(printable(name)),
            f"{gauges['up']:.0f} of {gauges['replicas']:.0f}" if "replicas" in gauges else "",
            *(_figure(gauges.get(key)) for key in ("requests", "running", "waiting")),
            "" if cache is None else f"{100 * cache:.0f} %",
        )
    return table


def _verifiers(picture: Picture) -> Table:
    table = _table("verifier", "judges", "state", "version")
    for row in picture.verifiers:
        state = Text("answers", style="green") if row["healthy"] else Text("down", style="red")
        cells = [Text(printable(str(row.get(key) or ""))) for key in ("name", "kind", "version")]
        table.add_row(*cells[:2], state, cells[2])
    return table


def _running(picture: Picture) -> Table:
    table = _table("request", "model", "strategy", "phase", "seconds", "tokens", "", "samples", "nodes")
    for row in picture.running:
        budget = row.get("budget") or {}
        limit = budget.get("tokens")
        bar = ProgressBar(total=limit, completed=min(row["tokens"], limit), width=12) if limit else ""
        phase = f"{row['phase']} (batch)" if row.get("batch") else row["phase"]
        table.add_row(
            *(Text(printable(str(text))) for text in (_short(row), row["model"], row["strategy"], phase)),
            _of(f"{row['seconds']:.1f}", budget.get("seconds")),
            _of(str(row["tokens"]), limit),
            bar,
            _of(str(row["samples"]), budget.get("samples")),
            str(row["nodes"]),
        )
    return table


def _short(row: Mapping[str, Any]) -> str:
    return (row.get("id") or "")[:8]


def _of(spent: str, limit: float | None) -> str:
    return spent if limit is None else f"{spent}/{limit:g}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
