"""docs/scaling.md: the tables between its marks are made from the results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance.page import number, put

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
CHECKED = {
    "hit_rate": "prompt tokens cached, %",
    "computed": "prompt tokens computed for each generated one",
    "goodput": "searches/s and replica",
    "p50": "median latency, s",
    "p95": "95th percentile, s",
}
HEAD = "prompt tokens cached | requests/s and replica | median, s | 95 %, s"


def write(results: Mapping[str, Any], page: Path = PAGE) -> None:
    """Put the tables of the results into the page.

    Raises:
        ValueError: it does not say where.
    """
    put("\n".join(_tables(results)), page)


def _tables(results: Mapping[str, Any]) -> Iterable[str]:
    if "measure" in results:
        yield from ("### Costs", "", *_costs(results["measure"]), "")
    if "check" in results:
        yield from ("### The model against two real engines", "", *_check(results["check"]), "")
    if "simulate" in results:
        simulated = results["simulate"]
        yield from ("### More replicas", "", _load(simulated), "", *_sizes(simulated["sizes"]), "")
        yield from ("### System prompts", "", *_tenants(simulated["tenants"]), "")
        yield from ("### One of eight is slow, or dies", "", *_troubles(simulated), "")
    yield from _conditions(results)


def _costs(measured: Mapping[str, Any]) -> Iterable[str]:
    costs, fit, searches = measured["costs"], measured["fit"], measured["recorded"]["search"]
    yield "| | processor time, ms |"
    yield "|---|---:|"
    names = {
        "base": "each step of an engine",
        "decoding": "and for each sequence that goes on",
        "begun": "and for each that begins",
        "token": "and for each token of its prompt that is not cached",
    }
    for name, what in names.items():
        yield f"| {what} | {1e3 * costs['step'][name]:.3f} |"
    yield f"| the server, for each request to an engine | {1e3 * costs['request']:.2f} |"
    yield f"| there and back (by the clock, at best) | {1e3 * costs['way']:.2f} |"
    yield ""
    kinds, all_of_them = 100 * fit["error"], 100 * abs(fit["total"] - 1)
    yield f"{fit['steps']:,} steps of {fit['kinds']} kinds: half of the kinds are fitted to within"
    yield f"{kinds:.0f} %, all together to {all_of_them:.0f} %. A recorded search has"
    yield f"{searches['levels']:.1f} levels and {searches['requests']:.0f} requests of"
    yield f"{searches['tokens']:.0f} tokens, after a question of {searches['prompt']:.0f}."


def _check(checked: Mapping[str, Any]) -> Iterable[str]:
    yield "| | routing | real | simulated | simulated over real, round by round |"
    yield "|---|---|---:|---:|---:|"
    for name, what in CHECKED.items():
        for way, rounds in checked["ways"].items():
            real, made = ([each[side][name] for each in rounds] for side in ("real", "simulated"))
            cells = (_spread(name, real), _spread(name, made))
            ratios = ", ".join(f"{b / a:.2f}" for a, b in zip(real, made, strict=True))
            yield f"| {what} | {way} | {' | '.join(cells)} | {ratios} |"
    yield ""
    stretches = [each["stretch"] for rounds in checked["ways"].values() for each in rounds]
    yield f"{checked['clients']} clients, {checked['problems']} searches a round, {checked['rounds']} rounds:"
    yield "the median, the lowest and the highest. The machine was busy: a step took"
    yield f"{min(stretches):.1f} to {max(stretches):.1f} times its processor time by the clock. In the"
    yield "simulation of a round all costs are multiplied by what it was in that round."


def _spread(name: str, values: Sequence[float]) -> str:
    known = (statistics.median(values), min(values), max(values))
    median, low, high = (f"{100 * v:.1f}" if name == "hit_rate" else number(v) for v in known)
    return f"{median} ({low} – {high})"


def _load(simulated: Mapping[str, Any]) -> str:
    return (
        "60 % searches, 20 % votes of 16, 20 % single answers. One replica that always has work manages "
        f"{simulated['capacity']:.1f} requests a second; `load` is what comes, in parts of that. "
        f"Counted is what happens in {simulated['shortest']:g} seconds or more, after {simulated['warm']:g}."
    )


def _sizes(cases: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield f"| load | replicas | routing | {HEAD} |"
    yield "|---:|---:|---|---:|---:|---:|---:|"
    for case in sorted(cases, key=lambda case: (case["load"], case["replicas"])):
        yield f"| {case['load']} | {case['replicas']:,} | {case['route']} | {_figures(case)} |"


def _tenants(cases: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield f"| system prompts | routing | {HEAD} |"
    yield "|---:|---|---:|---:|---:|---:|"
    for case in cases:
        route = case["route"] + (" by system prompt" if case["by_tenant"] else "")
        yield f"| {case['tenants']:,} | {route} | {_figures(case)} |"


def _troubles(simulated: Mapping[str, Any]) -> Iterable[str]:
    yield f"| | routing | {HEAD} | taken over |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for case in (*simulated["slow"], *simulated["dies"]):
        what = "one four times as slow" if case["slow"] else "one dies" if case["dies"] else "all well"
        yield f"| {what} | {case['route']} | {_figures(case)} | {case['failovers']} |"


def _figures(case: Mapping[str, Any]) -> str:
    return " | ".join(
        (
            f"{100 * case['hit_rate']:.0f} %",
            number(case["goodput"]),
            number(case["p50"]),
            number(case["p95"]),
        )
    )


def _conditions(results: Mapping[str, Any]) -> Iterable[str]:
    for part, found in results.items():
        yield f"`{part}`: {found['cores']} cores, load {found['load']} at the end, {found['when'][:10]}."
        yield ""
