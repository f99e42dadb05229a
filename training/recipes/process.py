"""Process reward models: a verdict on every step."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mull.training.data.labels import Solution, exact, first_error, is_bundled
from mull.training.data.rows import Problem, Rollout
from mull.training.errors import TrainingError
from mull.training.recipes.base import Kind, Network
from mull.training.recipes.classifier import Classifier
from mull.training.recipes.labelling import label, solutions_of
from mull.training.recipes.step_labels import Labels, MonteCarlo
from mull.verifiers.formats import TokenClassification
from mull.verifiers.steps import split

if TYPE_CHECKING:
    from mull.training.job import Job
    from mull.verifiers.reading import Passage


class Prm(Classifier):
    """A process reward model: a token classifier that is read at the last token of each step.

    Follows Lightman et al. 2023 (arXiv:2305.20050). Label 1 is a good step, as the server's `prm` verifiers
    expect. Loss is taken there only: the cross-entropy with the labels, which may be probabilities.
    """

    recipe: Literal["prm"] = "prm"
    labels: Labels = Field(default_factory=MonteCarlo)
    delimiter: str = Field("\n", min_length=1, description="Where steps end.")
    balance: bool = Field(
        False, description="Leave out rows, at random, until as many have an error as have none."
    )
    head: tuple[str, str] | None = Field(
        None, description="Tokens, bad and good, whose output weights in a causal `model` start the new head."
    )

    kind: ClassVar[Kind] = "stepwise"
    network: ClassVar[Network] = "token"

    def make(self, job: Job) -> list[dict[str, Any]]:
        """Sample answers to the problems, and label their steps; what that cost goes to `data/labels.json`.

        Raises:
            TrainingError: there are no labels of this kind for these problems.
        """
        problems, rollouts = self.sampled(job)
        pairs = _solutions(problems, rollouts, self.delimiter)
        labelled = label(job, self.labels, pairs, policy=self.policy or self.model)
        source = self.labels.model_dump() | {"kind": "labels", "policy": self.policy or self.model}
        rows = [
            {
                "prompt": [m.model_dump() for m in solution.prompt],
                "completions": list(solution.steps),
                "labels": labels,
                "problem": problem.id,
                "source": source,
            }
            for (problem, solution), labels in zip(pairs, labelled.labels, strict=True)
        ]
        cost = {"answers": len(rows), "prefixes": labelled.prefixes, "rollouts": labelled.rollouts}
        (job.folder / "data" / "labels.json").write_text(json.dumps(self.labels.model_dump() | cost) + "\n")
        return balanced(rows, self.seed) if self.balance else rows

    def trainer(self, job: Job) -> Any:
        """A plain trainer; TRL 1.16 has none for such models.

        Raises:
            TrainingError: the steps of a row are not those that the server cuts, or a row is too long.
        """
        from mull.training.verifier_inputs import IGNORED, step_loss

        if self.head is not None:
            start_head(job.model, self.model, job.tokenizer, self.head)
        job.model.config.id2label = {0: "bad", 1: "good"}
        job.model.config.label2id = {"bad": 0, "good": 1}
        readings = self.read(job, [(row["prompt"], self._passage(row)) for row in job.rows])
        rows = []
        for row, reading in zip(job.rows, readings, strict=True):
            labels = [IGNORED] * len(reading.ids)
            for mark, given in zip(reading.marks, row["labels"], strict=True):
                labels[mark] = IGNORED if given is None else float(given)
            rows.append({"input_ids": reading.ids, "labels": labels})
        return self.train_on(job, rows, step_loss)

    def _passage(self, row: Mapping[str, Any]) -> Passage:
        text = "".join(row["completions"])
        cut = split(text, self.delimiter)
        if [step.text for step in cut] != list(row["completions"]):
            raise TrainingError(
                f"the completions {row['completions']!r} are not the steps that end in {self.delimiter!r}: "
                "each keeps its delimiter, and none is blank",
                param="delimiter",
            )
        return TokenClassification().lay_out(text, cut, ())

    def figures(self, job: Job, model: Path) -> dict[str, Any]:
        """How well the trained model judges the policy's samples of the held-out problems.

        Whole answers are judged by their least step. For the bundled task, which has exact labels, there is
        the F1 of the first error, too.
        """
        from mull.training.verifier_figures import Judged, answer_figures, step_figures
        from mull.training.verifier_inputs import step_scores

        problems, rollouts = self.held_out(job)
        pairs = _solutions(problems, rollouts, self.delimiter)
        readings = self.read(
            job, [(p.prompt, self._passage({"completions": s.steps})) for p, s in pairs], self.context(job)
        )
        cases: dict[str, list[Judged]] = {}
        for (problem, solution), steps in zip(pairs, step_scores(model, readings), strict=True):
            truth = tuple(exact(problem, solution.steps)) if is_bundled(problem) else None
            judged = Judged(score=min(steps), right=solution.right, steps=tuple(steps), truth=truth)
            cases.setdefault(problem.id, []).append(judged)
        if not cases:
            return {}
        figures: dict[str, Any] = {**answer_figures(list(cases.values()))}
        if all(a.truth is not None for case in cases.values() for a in case):
            figures |= step_figures(list(cases.values()))
        return figures


def balanced(rows: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """As many rows with a wrong step (its label below one half) as without; a draw by seed says which."""
    parts: tuple[list[int], list[int]] = ([], [])
    for n, row in enumerate(rows):
        parts[first_error([1.0 if label is None else label for label in row["labels"]]) is None].append(n)
    size = min(map(len, parts))
    rng = random.Random(seed)
    kept = {n for part in parts for n in rng.sample(part, size)}
    return [row for n, row in enumerate(rows) if n in kept]


def start_head(model: Any, base: str, tokenizer: Any, tokens: tuple[str, str]) -> None:
    """Set the rows of a two-label head to the weights with which a language model tells two tokens.

    Args:
        model: The token classifier, changed in place.
        base: Folder or name of the language model.
        tokenizer: Its tokenizer.
        tokens: Texts of the tokens of label 0 and 1.

    Raises:
        TrainingError: a text is not one token.
    """
    import torch
    from transformers import AutoModelForCausalLM

    ids = [tokenizer.encode(token, add_special_tokens=False) for token in tokens]
    if any(len(i) != 1 for i in ids):
        raise TrainingError(f"head: {tokens[0]!r} and {tokens[1]!r} must be one token each", param="head")
    weights = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).get_output_embeddings().weight
    with torch.no_grad():
        model.score.weight.copy_(weights[[i[0] for i in ids]])
        if model.score.bias is not None:
            model.score.bias.zero_()


def _solutions(
    problems: Sequence[Problem], rollouts: Sequence[Rollout], delimiter: str
) -> list[tuple[Problem, Solution]]:
    return [
        (problem, solution)
        for problem, rollout in zip(problems, rollouts, strict=True)
        for solution in solutions_of(problem, rollout, delimiter)
    ]
