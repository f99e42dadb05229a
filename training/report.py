"""Measure the three bundled models together, and write what was found into their cards."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mull.training import evaluate
from mull.training.card import Card, write_card
from mull.training.card_texts import TEXTS
from mull.training.model import load
from mull.training.policy import TEMPERATURE
from mull.training.problems import generate
from mull.training.statistics import Figure

N = 16


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one evaluation."""

    problems: int
    samples: int
    policy: dict[str, Figure]
    prm: dict[str, Figure]
    orm: dict[str, Figure]
    by_steps: dict[int, float]

    def passes_gate(self) -> bool:
        """Whether both verifiers choose better than the vote and than the policy's own likelihood."""
        bar = max(self.policy[f"majority@{N}"].value, self.policy[f"best-of-{N} by own likelihood"].value)
        return min(self.prm[f"best-of-{N} by PRM"].value, self.orm[f"best-of-{N} by ORM"].value) > bar


def measure(models: Path, *, problems: int, samples: int) -> Report:
    """Evaluate `policy`, `prm` and `orm` in the folder `models` on held-out problems."""
    policy, prm, orm = (evaluate.as_served(load(models / name)) for name in ("policy", "prm", "orm"))
    cases = evaluate.sampled_cases(policy, count=problems, n=samples, temperature=TEMPERATURE)
    evaluate.judge(cases, prm, orm, N)
    held_out = list(generate(evaluate.EVALUATION_SEED, problems))
    beams = evaluate.beam_search(policy, prm, held_out, TEMPERATURE)
    return Report(
        problems=problems,
        samples=samples,
        policy=evaluate.policy_figures(cases, N),
        prm=evaluate.process_figures(cases, N) | evaluate.beam_figures(beams, cases, N),
        orm=evaluate.outcome_figures(cases, N),
        by_steps=evaluate.by_steps(cases),
    )


def save(report: Report, path: Path) -> None:
    """Write all figures as JSON."""
    path.write_text(json.dumps(asdict(report), indent=2) + "\n")


def read(path: Path) -> Report:
    """What `save` wrote."""
    raw = json.loads(path.read_text())
    figures = {k: {name: Figure(**f) for name, f in raw[k].items()} for k in ("policy", "prm", "orm")}
    by_steps = {int(k): v for k, v in raw["by_steps"].items()}
    return Report(raw["problems"], raw["samples"], **figures, by_steps=by_steps)


def write_cards(report: Report, models: Path) -> None:
    """A README.md in each model's folder, from the figures and from its `training.json`."""
    measured = (
        f"On {report.problems} problems of a stream that no training saw (`mull data problems "
        f"--seed {evaluate.EVALUATION_SEED}`), {report.samples} samples each, temperature {TEMPERATURE}; the "
        f"first {N} of them are voted on, chosen from and judged. Intervals are bootstraps over problems."
    )
    steps = ", ".join(f"{k}: {v:.2f}" for k, v in report.by_steps.items())
    figures = {"policy": report.policy, "prm": report.prm, "orm": report.orm}
    for name, text in TEXTS.items():
        folder = models / name
        run = json.loads((folder / "training.json").read_text())
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        facts = {"Architecture": text.architecture, "Weights": f"bfloat16, {size / 1e6:.1f} MB"} | run[
            "facts"
        ]
        notes = [*text.notes, *run["notes"]]
        if name == "policy":
            notes.append(f"Greedy accuracy by number of steps: {steps}.")
        card = Card(text.title, text.summary, facts, figures[name], measured, text.commands, notes)
        write_card(card, folder)
