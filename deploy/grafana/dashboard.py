#!/usr/bin/env python3
"""Write dashboards/mull.json, the Grafana dashboard: `deploy/grafana/dashboard.py`.

A panel is a title, its queries with their legends, and a unit; a row is a title and its panels.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / "dashboards" / "mull.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
CHOSEN = 'model=~"$model", strategy=~"$strategy"'
MODEL = 'model=~"$model"'
ALL = ""
WIDTH, HEIGHT, COLUMNS = 8, 7, 3


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A graph over time."""

    title: str
    queries: dict[str, str]
    """PromQL by legend."""
    unit: str = "short"
    about: str = ""
    stacked: bool = False


def rate(metric: str, by: str, where: str = CHOSEN) -> str:
    """A counter's growth a second."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def last(how: str, metric: str, by: str, where: str = ALL) -> str:
    """A gauge as it is."""
    return f"{how} by ({by}) ({metric}{{{where}}})"


def quantile(q: float, metric: str, by: str, where: str = CHOSEN) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"


def mean(metric: str, by: str, where: str = CHOSEN) -> str:
    """The mean of a histogram's observations."""
    return f"{rate(f'{metric}_sum', by, where)} / {rate(f'{metric}_count', by, where)}"


def share(part: str, whole: str) -> str:
    """A part of something, as a share of it."""
    return f"{part} / {whole}"


DRIFT = "A change is drift: other questions, another policy, or another verifier."
VLLM = 'model_name=~".+"'
WORKER = 'job="mull-verifier"'

ROWS: dict[str, list[Panel]] = {
    "Requests": [
        Panel(
            title="Requests by outcome",
            unit="reqps",
            stacked=True,
            queries={"{{status}}": rate("mull_requests_total", "status")},
        ),
        Panel(
            title="Requests by strategy",
            unit="reqps",
            stacked=True,
            queries={"{{model}} {{strategy}}": rate("mull_requests_total", "model, strategy")},
        ),
        Panel(
            title="Errors told to clients",
            unit="reqps",
            queries={"{{status}} {{code}}": rate("mull_errors_total", "status, code", ALL)},
        ),
        Panel(
            title="Time to solve, 95th percentile",
            unit="s",
            queries={"{{strategy}}": quantile(0.95, "mull_request_seconds", "strategy")},
        ),
        Panel(
            title="Time to solve, median",
            unit="s",
            queries={"{{strategy}}": quantile(0.5, "mull_request_seconds", "strategy")},
        ),
        Panel(
            title="Time to the first text, 95th percentile",
            unit="s",
            about="Of streamed answers.",
            queries={"{{strategy}}": quantile(0.95, "mull_first_token_seconds", "strategy")},
        ),
    ],
    "Load": [
        Panel(
            title="Running and waiting",
            queries={
                "{{model}} running": 'sum by (model) (mull_running{model=~"$model"})',
                "waiting": "sum(mull_waiting)",
                "generations admitted": "sum(mull_admitted_weight)",
            },
        ),
        Panel(
            title="Time waited, 95th percentile",
            unit="s",
            queries={"{{instance}}": quantile(0.95, "mull_waiting_seconds", "instance", ALL)},
        ),
        Panel(
            title="Turned away",
            unit="reqps",
            queries={"{{reason}}": rate("mull_refused_total", "reason", ALL)},
        ),
        Panel(
            title="Requests by key",
            unit="reqps",
            queries={"{{key}}": rate("mull_key_requests_total", "key", ALL)},
        ),
        Panel(
            title="Tokens by key",
            queries={"{{key}} {{part}}": rate("mull_key_tokens_total", "key, part", ALL)},
        ),
        Panel(
            title="Engines that answer",
            about="1: it answers; 0: it does not.",
            queries={
                "{{instance}} {{model}}": "min by (instance, model) (mull_engine_up)",
                "{{job}} {{instance}}": 'up{job=~"mull.*"}',
            },
        ),
    ],
    "Replicas": [
        Panel(
            title="Replicas that get requests",
            about="1: it does; 0: it is down, or ends what it has. The least that any server says.",
            queries={"{{model}} {{replica}}": last("min", "mull_replica_up", "model, replica", MODEL)},
        ),
        Panel(
            title="Requests at each replica",
            stacked=True,
            queries={"{{model}} {{replica}}": last("sum", "mull_replica_requests", "model, replica", MODEL)},
        ),
        Panel(
            title="Went on at another replica",
            unit="reqps",
            queries={"{{model}}": rate("mull_failovers_total", "model", MODEL)},
        ),
        Panel(
            title="Engines started again, in an hour",
            about="Engines in the server's own process.",
            queries={
                "{{instance}} {{engine}}": "sum by (instance, engine)"
                " (increase(mull_engine_restarts_total[1h]))"
            },
        ),
    ],
    "Tokens": [
        Panel(
            title="Tokens generated",
            stacked=True,
            about="In returned answers, or hidden: search and cancelled work.",
            queries={"{{part}}": rate("mull_tokens_total", "part")},
        ),
        Panel(
            title="Tokens wasted",
            about="Of aborted generations, or of requests without an answer.",
            queries={"{{strategy}} {{reason}}": rate("mull_wasted_tokens_total", "strategy, reason")},
        ),
        Panel(
            title="Tokens generated for a request",
            about="The mean of each strategy.",
            queries={
                "{{strategy}}": share(
                    rate("mull_tokens_total", "strategy"), rate("mull_requests_total", "strategy")
                )
            },
        ),
        Panel(
            title="Prompt tokens",
            stacked=True,
            queries={"{{source}}": rate("mull_prompt_tokens_total", "source")},
        ),
        Panel(
            title="Prompt tokens read from the prefix cache",
            unit="percentunit",
            queries={
                "{{strategy}}": share(
                    rate("mull_prompt_tokens_total", "strategy", CHOSEN + ', source="cached"'),
                    rate("mull_prompt_tokens_total", "strategy"),
                )
            },
        ),
        Panel(
            title="Engine calls",
            unit="reqps",
            queries={"{{strategy}}": rate("mull_engine_calls_total", "strategy")},
        ),
    ],
    "Searches": [
        Panel(
            title="Why searches ended",
            unit="reqps",
            stacked=True,
            queries={"{{reason}}": rate("mull_stops_total", "reason")},
        ),
        Panel(
            title="Budgets spent",
            unit="reqps",
            queries={"{{strategy}} {{limit}}": rate("mull_budget_exhausted_total", "strategy, limit")},
        ),
        Panel(
            title="Confidence, mean",
            unit="percentunit",
            about=f"The winner's share of the votes, or its score. {DRIFT}",
            queries={"{{strategy}}": mean("mull_confidence", "strategy")},
        ),
        Panel(title="Depth, mean", queries={"{{strategy}}": mean("mull_search_depth", "strategy")}),
        Panel(title="Width, mean", queries={"{{strategy}}": mean("mull_search_width", "strategy")}),
        Panel(
            title="Answered without a verifier",
            unit="reqps",
            queries={"{{verifier}}": rate("mull_fallbacks_total", "verifier", ALL)},
        ),
    ],
    "Verifiers": [
        Panel(
            title="Calls and failures",
            unit="reqps",
            queries={
                "{{verifier}}": rate("mull_verifier_calls_total", "verifier", ALL),
                "{{verifier}} failed": rate("mull_verifier_errors_total", "verifier", ALL),
            },
        ),
        Panel(
            title="Time of a call, 95th percentile",
            unit="s",
            queries={"{{verifier}}": quantile(0.95, "mull_verifier_seconds", "verifier", ALL)},
        ),
        Panel(
            title="Candidates in a call, mean",
            queries={"{{verifier}}": mean("mull_verifier_batch_size", "verifier", ALL)},
        ),
        Panel(
            title="Scores, quartiles",
            unit="percentunit",
            about=DRIFT,
            queries={
                f"{{{{verifier}}}} {q}": quantile(q, "mull_score", "verifier", ALL) for q in (0.25, 0.5, 0.75)
            },
        ),
        Panel(
            title="Tokens computed",
            queries={"{{verifier}}": rate("mull_verifier_tokens_total", "verifier", ALL)},
        ),
        Panel(
            title="Reloads",
            queries={"{{verifier}} {{outcome}}": "sum by (verifier, outcome) (mull_verifier_reloads_total)"},
        ),
    ],
    "Verifier workers": [
        Panel(
            title="Requests",
            unit="reqps",
            queries={
                "{{instance}} {{status}}": rate("mull_verifier_requests_total", "instance, status", WORKER)
            },
        ),
        Panel(
            title="Time to score, 95th percentile",
            unit="s",
            queries={"{{instance}}": quantile(0.95, "mull_verifier_request_seconds", "instance", WORKER)},
        ),
        Panel(
            title="Candidates",
            queries={
                "{{instance}} waiting": last("sum", "mull_verifier_waiting_candidates", "instance", WORKER),
                "{{instance}} in a batch": mean("mull_verifier_batch_candidates", "instance", WORKER),
            },
        ),
    ],
    "Engines": [
        Panel(
            title="Sequences",
            queries={
                "{{model_name}} running": last("sum", "vllm:num_requests_running", "model_name", VLLM),
                "{{model_name}} waiting": last("sum", "vllm:num_requests_waiting", "model_name", VLLM),
            },
        ),
        Panel(
            title="Tokens generated",
            queries={"{{model_name}}": rate("vllm:generation_tokens_total", "model_name", VLLM)},
        ),
        Panel(
            title="KV cache in use",
            unit="percentunit",
            queries={
                "{{model_name}} {{instance}}": last(
                    "max", "vllm:kv_cache_usage_perc", "model_name, instance", VLLM
                )
            },
        ),
        Panel(
            title="Prefix cache hits",
            unit="percentunit",
            queries={
                "{{model_name}}": share(
                    rate("vllm:prefix_cache_hits_total", "model_name", VLLM),
                    rate("vllm:prefix_cache_queries_total", "model_name", VLLM),
                )
            },
        ),
        Panel(
            title="Time to the first token, 95th percentile",
            unit="s",
            queries={
                "{{model_name}}": quantile(0.95, "vllm:time_to_first_token_seconds", "model_name", VLLM)
            },
        ),
        Panel(
            title="Preemptions",
            queries={"{{model_name}}": rate("vllm:num_preemptions_total", "model_name", VLLM)},
        ),
    ],
    "Traces": [
        Panel(
            title="Shared store answers",
            about="1: it does; 0: it does not.",
            queries={"{{instance}}": last("min", "mull_store_up", "instance")},
        ),
        Panel(
            title="Finished requests that could not be kept",
            queries={
                "{{instance}}": "sum by (instance) (increase(mull_traces_lost_total[$__rate_interval]))"
            },
        ),
    ],
}


def graph(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """A panel as Grafana reads it."""
    custom = {"fillOpacity": 10 if not panel.stacked else 40, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": query.replace("{}", ""),
                "legendFormat": legend,
            }
            for i, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def variable(name: str, label: str) -> dict[str, Any]:
    """A choice of a label's values, all of them at first."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values(mull_requests_total, {label})", "refId": name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    """All rows, top to bottom."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        y += 1
        for i, panel in enumerate(row):
            x = WIDTH * (i % COLUMNS)
            panels.append(graph(panel, len(panels) + 1, x, y + HEIGHT * (i // COLUMNS)))
        y += HEIGHT * -(-len(row) // COLUMNS)
    source = {"name": "source", "type": "datasource", "query": "prometheus", "hide": 2, "current": {}}
    return {
        "uid": "mull",
        "title": "mull",
        "tags": ["mull", "vllm"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, variable("model", "model"), variable("strategy", "strategy")]},
        "panels": panels,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n")
