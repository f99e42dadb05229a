"""The figures as JSON, for programs, and as Markdown, for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import mull
from mull.server.bench.statistics import Estimate
from mull.server.bench.summary import FEW, Comparison, Summary
from mull.server.bench.sweep import Sweep


def as_json(
    sweep: Sweep, summaries: Sequence[Summary], comparisons: Sequence[Comparison], **setting: Any
) -> dict[str, Any]:
    """Everything that was measured; `setting` says where and how."""
    return {
        "mull": mull.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **setting,
        "model": sweep.model,
        "problems": len(sweep.problems),
        "seed": sweep.seed,
        "runs": [_run(sweep, summary) for summary in summaries],
        "comparisons": [
            {
                "first": comparison.first.label,
                "second": comparison.second.label,
                "accuracy_difference": asdict(comparison.accuracy),
                "tokens_ratio": comparison.tokens,
            }
            for comparison in comparisons
        ],
    }


def _run(sweep: Sweep, summary: Summary) -> dict[str, Any]:
    figures = asdict(summary)
    del figures["run"], figures["shares"]
    return {
        "run": summary.run.label,
        "text": summary.run.text,
        "request": sweep.request(summary.run),
        **figures,
    }


def as_markdown(
    sweep: Sweep,
    summaries: Sequence[Summary],
    comparisons: Sequence[Comparison],
    *,
    source: str,
    sampling: Mapping[str, Any],
    skipped: Mapping[str, str],
) -> str:
    """Tables: what each run reached and cost, by steps, from fewer samples, and against each other.

    Args:
        sweep: What was measured.
        summaries: Its runs.
        comparisons: What to tell of pairs of them.
        source: Name of the file of problems.
        sampling: What all runs have in common that set nothing else.
        skipped: What was not measured, and why.
    """
    given = "".join(f", {name} {value}" for name, value in sampling.items())
    parts = [
        f"{sweep.model} on {len(sweep.problems)} problems of {source}, seed {sweep.seed}{given}",
        _overview(summaries),
    ]
    if named := [s.run for s in summaries if not s.run.text.startswith(s.run.label)]:
        parts.append("Runs under names of their own:\n\n" + items({r.label: f"`{r.text}`" for r in named}))
    if skipped:
        parts.append("Not measured:\n\n" + items(skipped))
    if any(summary.by_steps for summary in summaries):
        parts.append("Accuracy by number of steps, %:\n\n" + _by_steps(summaries))
    sampled = [summary for summary in summaries if summary.at_k]
    if len(summaries) > FEW:
        sampled = sorted(sampled, key=lambda s: s.at_k[-1].k)[-1:]
    parts += [
        f"Estimated from the samples of `{summary.run.label}`, %:\n\n{_at_k(summary)}" for summary in sampled
    ]
    if comparisons:
        parts.append("Differences in accuracy on the same problems, in points:\n\n" + _compared(comparisons))
    return "\n\n".join(parts) + "\n"


def _overview(summaries: Sequence[Summary]) -> str:
    return table(
        ["run", "accuracy, % [95 %]", "tokens", "verifier tokens", "engine calls", "seconds"],
        (
            [
                f"`{s.run.label}`",
                percent(s.accuracy),
                f"{s.tokens.value:.0f}",
                f"{s.verifier_tokens.value:.0f}",
                f"{s.engine_calls.value:.1f}",
                f"{s.seconds.value:.2f}",
            ]
            for s in sorted(summaries, key=lambda s: s.tokens.value)
        ),
    )


def _by_steps(summaries: Sequence[Summary]) -> str:
    sizes = {steps: group.problems for s in summaries for steps, group in s.by_steps.items()}
    columns = sorted(sizes)
    return table(
        ["run", *(f"{steps} (n={sizes[steps]})" for steps in columns)],
        (
            [f"`{s.run.label}`", *(f"{100 * s.by_steps[steps].accuracy.value:.0f}" for steps in columns)]
            for s in summaries
        ),
    )


def _at_k(summary: Summary) -> str:
    return table(
        ["k", "tokens", "pass@k", "majority@k", "best-of-k"],
        (
            [
                str(at.k),
                f"{at.tokens:.0f}",
                percent(at.passed),
                percent(at.majority),
                "" if at.best is None else percent(at.best),
            ]
            for at in summary.at_k
        ),
    )


def _compared(comparisons: Sequence[Comparison]) -> str:
    return table(
        ["first", "second", "first minus second [95 %]", "wins, losses", "p", "tokens, ratio"],
        (
            [
                f"`{c.first.label}`",
                f"`{c.second.label}`",
                f"{100 * c.accuracy.value:+.1f} [{100 * c.accuracy.low:+.1f}, {100 * c.accuracy.high:+.1f}]",
                f"{c.accuracy.wins}, {c.accuracy.losses}",
                f"{c.accuracy.p:.2g}",
                "" if math.isinf(c.tokens) else f"{c.tokens:.2f}",
            ]
            for c in comparisons
        ),
    )


def percent(share: Estimate) -> str:
    """A share and its interval in percent: `68.2 [64.0, 72.1]`."""
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def items(texts: Mapping[str, str]) -> str:
    """A Markdown list of named texts."""
    return "\n".join(f"- `{name}`: {text}" for name, text in texts.items())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---" if i == 0 else "---:" for i in range(len(head))]
    escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in (head, rule, *rows))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in escaped)
