"""Measure the bundled models together, and write what was found into their cards."""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mull.training.bundled import evaluate, turn_figures
from mull.training.bundled.card_texts import TEXTS
from mull.training.bundled.model import load
from mull.training.bundled.policy import TEMPERATURE
from mull.training.card import Card, write_card
from mull.training.statistics import Figure

N = 16
LIKELIHOOD_THRESHOLD = 0.05
"""Likelihood of a step below which the solver holds it for wrong; chosen on other problems."""
GATE = (
    "Gate: best-of-{n} must beat both the majority of {n} and best-of-{n} by the policy's own likelihood. "
    "This verifier {verdict}."
)
MODELS = ("policy", "solver", "prm", "orm")


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one evaluation."""

    problems: int
    samples: int
    figures: dict[str, dict[str, Figure]]
    """By model."""
    by_steps: dict[int, float]

    def helps(self, verifier: str) -> bool:
        """The gate: whether the verifier chooses better than vote and the policy's own likelihood."""
        policy = self.figures["policy"]
        bar = max(policy[f"majority@{N}"].value, policy[f"best-of-{N} by own likelihood"].value)
        return self.figures[verifier][f"best-of-{N}"].value > bar


def measure(models: Path, *, problems: int, samples: int) -> Report:
    """Evaluate the policy, the likelihood verifier and both heads in `models` on held-out problems."""
    policy, solver, prm, orm = (evaluate.as_served(load(models / name)) for name in MODELS)
    cases = evaluate.sampled_cases(policy, count=problems, n=samples, temperature=TEMPERATURE)
    held_out = [case.problem for case in cases]
    turn_figures.judge_by_check(policy, cases, N)
    revised = turn_figures.revise(policy, cases, TEMPERATURE)
    figures = {
        "policy": evaluate.policy_figures(cases, N)
        | turn_figures.check_figures(cases, N)
        | turn_figures.revision_figures(revised)
    }
    scorers: dict[str, tuple[evaluate.StepScorer, float]] = {
        "prm": (partial(evaluate.process_scores, prm), 0.5),
        "solver": (partial(evaluate.step_likelihoods, solver), LIKELIHOOD_THRESHOLD),
    }
    for name, (scorer, threshold) in scorers.items():
        evaluate.judge(cases, scorer, n=N)
        beams = evaluate.beam_search(policy, scorer, held_out, TEMPERATURE)
        found = evaluate.process_figures(cases, threshold, N)
        figures[name] = found | evaluate.beam_figures(beams, cases, N)
    evaluate.judge(cases, orm=orm, n=N)
    figures["orm"] = evaluate.outcome_figures(cases, N)
    return Report(problems, samples, figures, evaluate.by_steps(cases))


def save(report: Report, path: Path) -> None:
    """Write all figures as JSON."""
    path.write_text(json.dumps(asdict(report), indent=2) + "\n")


def read(path: Path) -> Report:
    """What `save` wrote."""
    raw = json.loads(path.read_text())
    figures = {model: {name: Figure(**f) for name, f in row.items()} for model, row in raw["figures"].items()}
    return Report(raw["problems"], raw["samples"], figures, {int(k): v for k, v in raw["by_steps"].items()})


def write_cards(report: Report, models: Path) -> None:
    """A README.md in each model's folder, from the figures and from its `training.json`."""
    measured = (
        f"On {report.problems} problems of a stream that no training saw (`mull data problems "
        f"--seed {evaluate.EVALUATION_SEED}`), {report.samples} samples each, temperature {TEMPERATURE}; the "
        f"first {N} of them are voted on, chosen from and judged. Intervals are bootstraps over problems."
    )
    steps = ", ".join(f"{k}: {v:.2f}" for k, v in report.by_steps.items())
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
        else:
            verdict = "passes" if report.helps(name) else "does not pass"
            notes.insert(0, GATE.format(verdict=verdict, n=N))
        card = Card(text.title, text.summary, facts, report.figures[name], measured, text.commands, notes)
        write_card(card, folder)
