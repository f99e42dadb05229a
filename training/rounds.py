"""The rounds of the recipe `iterate`. One that a kill cut short goes on; finished ones are not repeated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from mull.training.data.check import check
from mull.training.data.problems import load, split
from mull.training.data.rows import Problem, Rollout, write
from mull.training.data.samples import liked
from mull.training.errors import TrainingError
from mull.training.guards.decide import fallen
from mull.training.measure import figures, solve
from mull.training.recipes.base import Evaluation, Recipe
from mull.training.recipes.iterate import HeldOut, Iterate
from mull.training.rollouts import Rollouts, roll_out
from mull.training.round_figures import Round, line, tally
from mull.training.statistics import Figure

Say = Callable[[str], None]
Score = Callable[[Sequence[Rollout], str, Recipe, Path], list[Rollout]]
"""From rollouts, the policy that drew them, and a verifier's recipe and folder to rollouts with scores."""


def play(
    recipe: Iterate, done: Path, *, train: Callable[[Recipe], Path], score: Score, say: Say = print
) -> None:
    """Play all rounds, or as many as do good, and put the policy of the best one into `done`.

    Leaves `rounds/<n>/` with each round's samples, verifier and policy, and `rounds.json` with the figures.

    Args:
        recipe: What to do.
        done: Folder of the result; appears when it is complete.
        train: Runs a recipe and gives the folder of its model, at once if that is there: `runner.run`.
        score: `scores.score`.
        say: Told of each round.

    Raises:
        TrainingError: there are fewer problems than rounds, some are held out, or a round's recipe fails.
    """
    assert recipe.problems is not None
    problems = load(recipe.problems)
    if len(problems) < recipe.rounds:
        raise TrainingError(
            f"{len(problems)} problems are too few for {recipe.rounds} rounds", param="rounds"
        )
    folder = recipe.output / "rounds"
    _check(recipe, problems, folder / "problems.jsonl", say)
    history = [Round(number=0, policy=recipe.model, accuracy=_accuracy(recipe, 0, recipe.model))]
    stopped = False
    for number in range(1, recipe.rounds + 1):
        history.append(
            _finished(folder / str(number))
            or _play(recipe, number, problems[number - 1 :: recipe.rounds], history[-1].policy, train, score)
        )
        say(line(history[-1]))
        stopped = fallen([r.accuracy.value for r in history], max_drop=recipe.held_out.max_drop)
        _write(recipe.output / "rounds.json", {"stopped": stopped, "rounds": [asdict(r) for r in history]})
        if stopped:
            say("held-out accuracy has fallen: no more rounds")
            break
    best = max(history, key=lambda r: (r.accuracy.value, -r.number))
    say(f"round {best.number} is the best")
    copy(best.policy, done)


def _check(recipe: Iterate, problems: Sequence[Problem], path: Path, say: Say) -> None:
    """See that no held-out problem is among those of training."""
    held_out = load(recipe.held_out.problems)
    if recipe.evaluation is not None:
        evaluated = load(recipe.evaluation.problems)
        if {p.id for p in held_out} & {p.id for p in evaluated}:
            raise TrainingError(
                "held_out: these problems choose the best round, so none may be of `evaluation`",
                param="held_out.problems",
            )
        held_out += evaluated
    write(path, problems)
    report = check(path, "problem", against=held_out)
    say(str(report))
    report.require()


def _play(
    recipe: Iterate,
    number: int,
    problems: list[Problem],
    policy: str,
    train: Callable[[Recipe], Path],
    score: Score,
) -> Round:
    folder, seed = recipe.output / "rounds" / str(number), recipe.seed + number
    labelled, learned = split(problems, seed, 1 - recipe.labelled) if recipe.verifier else ([], problems)
    rollouts = recipe.rollouts or Rollouts()
    drawn = roll_out(
        [*labelled, *learned], folder / "samples.jsonl", model=policy, rollouts=rollouts, seed=seed
    )
    judged = drawn[len(labelled) :]
    verifier = None
    if recipe.verifier is not None:
        write(folder / "labelled.jsonl", labelled)
        teacher = recipe.verifying(
            policy, folder / "labelled.jsonl", folder / "samples.jsonl", folder / "verifier", seed
        )
        verifier = train(teacher)
        judged = score(judged, policy, teacher, verifier)
    chosen = judged if verifier is None else liked(judged, threshold=recipe.threshold, margin=recipe.margin)
    write(folder / "learned.jsonl", learned)
    write(folder / "judged.jsonl", chosen)
    model = policy if recipe.start == "last" else recipe.model
    improved = train(
        recipe.improving(model, folder / "learned.jsonl", folder / "judged.jsonl", folder / "policy", seed)
    )
    return _finish(
        folder,
        Round(
            number=number,
            policy=str(improved),
            verifier=None if verifier is None else str(verifier),
            accuracy=_accuracy(recipe, number, str(improved)),
            **tally(judged, chosen),
        ),
    )


def _accuracy(recipe: Iterate, number: int, policy: str) -> Figure:
    asked: HeldOut = recipe.held_out
    evaluation = Evaluation(problems=asked.problems, samples=0, max_tokens=asked.max_tokens)
    folder = recipe.output / "rounds" / str(number)
    return figures(solve(policy, evaluation, folder, "held-out", recipe.seed))["greedy"]


def _finish(folder: Path, found: Round) -> Round:
    _write(folder / "round.json", asdict(found))
    return found


def _finished(folder: Path) -> Round | None:
    path = folder / "round.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return Round(**found | {"accuracy": Figure(**found["accuracy"])})


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def copy(model: str, folder: Path) -> None:
    """Copy a model, a folder or a name on the Hub; the copy appears when it is complete."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    if Path(model).is_dir():
        shutil.copytree(model, part)
    else:
        from huggingface_hub import snapshot_download

        snapshot_download(model, local_dir=part)
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)
