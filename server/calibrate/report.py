"""The policy for the server, the figures for programs, and tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import mull
from mull.server.bench.report import items, percent, table
from mull.server.bench.statistics import mean, proportion
from mull.server.calibrate.fit import LEVELS
from mull.server.calibrate.fitted import Fitted
from mull.server.calibrate.policy import Policy
from mull.server.calibrate.preset import as_preset
from mull.server.calibrate.validate import Reached


def as_policy(fitted: Fitted, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What `mull.server.calibration` reads: presets, the efforts that mean them, and where they come from."""
    return {
        "format": 1,
        "presets": {
            f"effort-{effort}": as_preset(point.policy, fitted.runs.cells, fitted.probe)
            for effort, point in fitted.levels.items()
        },
        "efforts": {effort: f"effort-{effort}" for effort in fitted.levels},
        "provenance": {
            "mull": mull.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **provenance,
            "share_of_gain": dict(LEVELS),
            "in_sample": {effort: _figures(reached) for effort, reached in fitted.in_sample.items()},
            "held_out": {effort: _figures(reached) for effort, reached in fitted.held_out.items()},
        },
    }


def as_json(fitted: Fitted, policy: Mapping[str, Any], skipped: Mapping[str, str]) -> dict[str, Any]:
    """Everything that was measured and fitted."""
    return {
        **policy,
        "probe": asdict(fitted.probe),
        "folds": fitted.folds,
        "skipped": dict(skipped),
        "runs": [
            {
                "run": s.run.label,
                "text": s.run.text,
                "accuracy": asdict(s.accuracy),
                "tokens": asdict(s.tokens),
            }
            for s in fitted.summaries
        ],
        "bins": [
            {
                "at_least": bound,
                "problems": len(group),
                "cells": [
                    {
                        "run": c.name,
                        "accuracy": c.accuracy,
                        "tokens": c.tokens,
                        "tokens_probed": fmean(c.probed),
                    }
                    for c in group.cells
                ],
            }
            for bound, group in fitted.groups
        ],
        "curve": [
            {
                "accuracy": point.accuracy,
                "tokens": point.tokens,
                **as_preset(point.policy, fitted.runs.cells, fitted.probe),
            }
            for point in fitted.points
        ],
    }


def as_markdown(fitted: Fitted, skipped: Mapping[str, str], written: Path) -> str:
    """Tables: what each level reaches, what it does in each bin, and what it was chosen from."""
    count, probe = len(fitted.table), fitted.probe
    parts = [
        f"Levels of effort, fitted to {count} problems; held out: each problem solved by a fit to the other "
        f"folds ({fitted.folds}).\n\n{_levels(fitted)}",
        f"What each level does, by the {probe.signal} of {probe.samples} answers (problems):\n\n"
        + _choices(fitted),
        "Accuracy in each bin, % (tokens, the probe included):\n\n" + _bins(fitted),
        "Every run on all problems, without a probe:\n\n" + _runs(fitted),
    ]
    if skipped:
        parts.append("Left out of the grid:\n\n" + items(skipped))
    parts.append(f"To serve it: `mull serve --calibration {written}`, or `calibration` in the configuration.")
    return "\n\n".join(parts) + "\n"


def _figures(reached: Reached) -> dict[str, Any]:
    return {"accuracy": asdict(proportion(reached.right)), "tokens": asdict(mean(reached.tokens))}


def _levels(fitted: Fitted) -> str:
    rows = []
    for effort in fitted.levels:
        seen, held = fitted.in_sample[effort], fitted.held_out[effort]
        accuracy, tokens = proportion(held.right), mean(held.tokens)
        same = fitted.cheapest(accuracy.value)
        rows.append(
            [
                f"`{effort}`",
                f"{100 * fmean(seen.right):.1f}",
                percent(accuracy),
                f"{fmean(seen.tokens):.0f}",
                f"{tokens.value:.0f}",
                "none" if same is None else f"`{fitted.runs.name(same.run)}`",
                "" if same is None else f"{same.tokens.value / max(1.0, tokens.value):.2f}",
            ]
        )
    head = ["effort", "accuracy, %", "held out [95 %]", "tokens", "held out"]
    return table([*head, "cheapest run as accurate", "its tokens, ratio"], rows)


def _choices(fitted: Fitted) -> str:
    head = [f"≥ {bound:g} ({len(group)})" for bound, group in fitted.groups]

    def row(policy: Policy) -> list[str]:
        names = [fitted.table.cells[policy.choice(bound)].name for bound, _ in fitted.groups]
        return [f"`{name}`" + ("" if policy.probes else ", no probe") for name in names]

    return table(["effort", *head], ([f"`{e}`", *row(p.policy)] for e, p in fitted.levels.items()))


def _bins(fitted: Fitted) -> str:
    head = [f"≥ {bound:g} ({len(group)})" for bound, group in fitted.groups]
    rows = (
        [
            f"`{cell.name}`",
            *(
                f"{100 * group.cells[i].accuracy:.0f} ({fmean(group.cells[i].probed):.0f})"
                for _, group in fitted.groups
            ),
        ]
        for i, cell in enumerate(fitted.table.cells)
    )
    return table(["run", *head], rows)


def _runs(fitted: Fitted) -> str:
    return table(
        ["run", "accuracy, % [95 %]", "tokens", "verifier tokens"],
        (
            [
                f"`{s.run.label}`",
                percent(s.accuracy),
                f"{s.tokens.value:.0f}",
                f"{s.verifier_tokens.value:.0f}",
            ]
            for s in sorted(fitted.summaries, key=lambda s: s.tokens.value)
        ),
    )
