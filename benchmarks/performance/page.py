"""docs/performance.md: the tables between its marks are made from the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
HEAD = (
    "| # | measured | value | lowest, highest round | mull | limit | target | |",
    "|---|---|---:|---:|---:|---:|---:|---|",
)


def write(results: Mapping[str, Any], page: Path = PAGE) -> None:
    """Put the tables of the results into the page.

    Raises:
        ValueError: it does not say where.
    """
    put(tables(results), page)


def put(made: str, page: Path) -> None:
    """Put what was made between the marks of a page.

    Raises:
        ValueError: it has none.
    """
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} ... {END} in {page}")
    page.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}", "utf-8")


def tables(results: Mapping[str, Any]) -> str:
    """All results as Markdown."""
    figures = [figure for result in results.values() for figure in result["figures"]]
    lines = [*HEAD, *rows(figures), "", *_notes(figures), "", *_conditions(results)]
    return "\n".join(lines) + "\n"


def rows(figures: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """A row of the table for each figure."""
    for figure in figures:
        value, unit, sides = figure["value"], figure["unit"], figure["sides"]
        spread = "" if value["low"] == value["high"] else f"{number(value['low'])} – {number(value['high'])}"
        cells = (
            figure["measure"],
            figure["what"],
            f"{number(value['median'])} {unit}".strip(),
            spread,
            _side(figure["ours"], sides),
            _side(figure["limit"], sides),
            _target(figure["target"], unit),
            {None: "", True: "met", False: "**missed**"}[figure["met"]],
        )
        yield "| " + " | ".join(map(str, cells)) + " |"


def number(value: float) -> str:
    """Three digits that mean something."""
    if value == 0 or 0.01 <= abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _side(value: float | None, unit: str) -> str:
    return "" if value is None else f"{number(value)} {unit}".strip()


def _target(target: Mapping[str, Any] | None, unit: str) -> str:
    if target is None:
        return ""
    sign = "≤" if target["side"] == "at most" else "≥"
    return f"{sign} {number(target['bound'])} {unit}".strip()


def _notes(figures: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for figure in figures:
        if figure["note"]:
            yield f"- {figure['measure']}, {figure['what']}: {figure['note']}"


def _conditions(results: Mapping[str, Any]) -> Iterable[str]:
    seen: dict[str, list[str]] = {}
    for name, result in results.items():
        rounds, load, day = result["rounds"], result["load"], result["when"][:10]
        how = f"{rounds} rounds, {result['cores']} cores, {result['vllm']}, load {load} at the end, {day}"
        seen.setdefault(how, []).append(name)
    for how, names in seen.items():
        yield f"Measure {', '.join(names)}: {how}."
        yield ""
