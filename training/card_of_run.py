"""The card of a trained model: what it came from, how, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mull.training.job import Job
from mull.training.measure import Change
from mull.training.statistics import Figure


def write(job: Job, changes: Mapping[str, Change], found: Mapping[str, Any]) -> None:
    """Write `figures.json` and the card `README.md`, and both beside the weights."""
    figures = {"policy": {name: asdict(c) for name, c in changes.items()}} if changes else {}
    figures |= {name: asdict(f) if isinstance(f, Figure) else f for name, f in found.items()}
    text = json.dumps(figures, indent=2) + "\n"
    card = _card(job, changes, found)
    for folder in (job.folder, job.folder / "model"):
        (folder / "figures.json").write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(card, encoding="utf-8")
    (job.folder / "model" / "recipe.yaml").write_text(
        (job.folder / "recipe.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )


def _card(job: Job, changes: Mapping[str, Change], found: Mapping[str, Any]) -> str:
    recipe, history = job.recipe, _history(job)
    lines = [
        "---",
        "library_name: transformers",
        f"base_model: {recipe.model}",
        "tags: [mull, " + recipe.recipe + "]",
        "---",
        "",
        f"# {recipe.output.name}",
        "",
        f"`{recipe.model}` after the recipe `{recipe.recipe}` of mull; the exact recipe is `recipe.yaml`.",
        "",
        "| | |",
        "|---|---|",
        f"| Rows | {len(job.rows)} of kind `{recipe.kind}` |",
        f"| Parameters | {'all trained' if recipe.peft is None else 'adapter: ' + recipe.peft.kind} |",
        *(f"| {name} | {text} |" for name, text in history.items()),
        *(f"| Stopped early | {text} |" for text in _stops(job)),
    ]
    if recipe.evaluation is not None and changes:
        e = recipe.evaluation
        which = e.problems.model_dump(mode="json", exclude_none=True)
        lines += [
            "",
            "## Before and after",
            "",
            f"On the same held-out problems (`{which}`), {e.samples} samples"
            f" at temperature {e.temperature}; 95 % intervals, bootstraps over problems; differences "
            "are paired.",
            "",
            "| figure | before | after | difference |",
            "|---|---|---|---|",
            *(f"| {n} | {c.before} | {c.after} | {c.difference} |" for n, c in changes.items()),
        ]
    plain = {n: f for n, f in found.items() if isinstance(f, Figure | float | int | str)}
    if plain:
        lines += ["", "## Figures", "", "| figure | value |", "|---|---|"]
        lines += [
            f"| {n} | {f:.3f} |" if isinstance(f, float) else f"| {n} | {f} |" for n, f in plain.items()
        ]
    lines += ["", "## Reproduce", "", "```sh", "mull train recipe.yaml", "```", ""]
    return "\n".join(lines)


def _stops(job: Job) -> list[str]:
    """What the guards that stopped the training said."""
    found = [json.loads(p.read_text(encoding="utf-8")) for p in (job.folder / "guards").glob("*.json")]
    return [guard["stopped"] for guard in found if guard.get("stopped")]


def _history(job: Job) -> dict[str, str]:
    """Updates, time and last loss, from the trainer's own state."""
    path = job.folder / "history.json"
    if job.trainer is not None:
        state = job.trainer.state
        last: dict[str, Any] = next((e for e in reversed(state.log_history) if "train_runtime" in e), {})
        kept = {
            "updates": state.global_step,
            "seconds": last.get("train_runtime"),
            "loss": last.get("train_loss"),
        }
        path.write_text(json.dumps(kept | {"log": state.log_history}) + "\n", encoding="utf-8")
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    found = {"Updates": str(kept["updates"])}
    if kept["seconds"] is not None:
        found["Training"] = f"{kept['seconds'] / 60:.1f} minutes"
    return found
