"""What every recipe does around its trainer: rows, checks, figures before and after, weights, card."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from transformers import PrinterCallback

from mull.training import card_of_run, estimate, measure, rounds
from mull.training.data.check import check
from mull.training.data.problems import load
from mull.training.data.rows import FORMATS, read
from mull.training.errors import TrainingError
from mull.training.guards import attach
from mull.training.job import Job
from mull.training.processes import join
from mull.training.recipes.base import Recipe
from mull.training.recipes.iterate import Iterate
from mull.training.rewards import close
from mull.training.rollouts import Rollouts
from mull.training.save import save
from mull.training.scores import score

Say = Callable[[str], None]


def run(recipe: Recipe, *, say: Say = print, callbacks: list[Any] | None = None) -> Path:
    """Train a model as the recipe says; what was finished before a kill is not done again.

    Among the processes of a launcher the first one makes the rows, measures and writes; all train.

    Leaves in `recipe.output`: `recipe.yaml` (exact), `data/` (rows and samples), `checkpoints/`, `model/`
    (weights, with adapters merged where they can be), `figures.json` and the card `README.md`.

    Returns:
        The folder of the trained model.

    Raises:
        TrainingError: the data are not fit, a model cannot be loaded, or `output` belongs to another recipe.
    """
    here = join()
    if not here.is_main_process:
        say, callbacks = _silent, None
    if isinstance(recipe, Iterate):
        if here.num_processes > 1:
            raise TrainingError("iterate plays its rounds in one process; start it without a launcher")
        return _rounds(recipe, say)
    # The others find what the first one has made.
    with here.main_process_first():
        job = prepare(recipe, say=say, callbacks=callbacks)
        before = _solve(recipe, recipe.model, "before", say)
    done = recipe.output / "model"
    if not done.exists():
        say(estimate.of(job).line())
        _train(job, say)
        save(job, done)
        _release(job)
    if here.is_main_process:
        _report(job, before, _solve(recipe, str(done), "after", say), say)
    return done


def _release(job: Job) -> None:
    """Give the memory back before others sample; the card needs only what the trainer noted."""
    job.trainer, job.rewards = SimpleNamespace(state=job.trainer.state), ((), ())
    job.__dict__.pop("model", None)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _silent(_: str) -> None:
    """For processes that have nothing of their own to say."""


def _report(job: Job, before: list[measure.Case], after: list[measure.Case], say: Say) -> None:
    """Say what changed, and write it into the card."""
    changes = measure.changes(before, after) if before and after else {}
    for name, change in changes.items():
        say(f"{name:12} {change.before}  ->  {change.after}   ({change.difference})")
    found = job.recipe.figures(job, job.folder / "model")
    for name, figure in found.items():
        say(f"{name:12} {figure}")
    card_of_run.write(job, changes, found)


def _rounds(recipe: Iterate, say: Say) -> Path:
    _claim(recipe)
    before = _solve(recipe, recipe.model, "before", say)
    done = recipe.output / "model"
    rounds.play(recipe, done, train=lambda inner: run(inner, say=say), score=score, say=say)
    _report(Job(recipe=recipe), before, _solve(recipe, str(done), "after", say), say)
    return done


def prepare(recipe: Recipe, *, say: Say = print, callbacks: list[Any] | None = None) -> Job:
    """Make and check the rows of a recipe.

    Raises:
        TrainingError: the data are not fit, or `output` belongs to another recipe.
    """
    _claim(recipe)
    job = Job(recipe=recipe, callbacks=list(callbacks or ()))
    rows = _rows(recipe, job, say)
    held_out = load(recipe.evaluation.problems) if recipe.evaluation else None
    report = check(rows, recipe.kind, against=held_out)
    say(str(report))
    report.require()
    job.rows = [row.columns() for row in read(rows, FORMATS[recipe.kind])]
    if len({"messages" in row for row in job.rows}) > 1:
        raise TrainingError(f"{rows} mixes rows with `messages` and rows with `prompt` and `completion`")
    return job


def _claim(recipe: Recipe) -> None:
    """Write the exact recipe, or see that it is the one that was begun here."""
    path = recipe.output / "recipe.yaml"
    content = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    if path.exists():
        if path.read_text(encoding="utf-8") != content:
            raise TrainingError(
                f"{recipe.output} holds another recipe ({path}); give another `output` or delete it",
                param="output",
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _rows(recipe: Recipe, job: Job, say: Say) -> Path:
    if recipe.data is not None:
        return recipe.data.file
    path = recipe.output / "data" / "train.jsonl"
    if not path.exists():
        say(f"making {recipe.kind} rows")
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = recipe.make(job)
        part = path.with_suffix(".part")
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        part.replace(path)
    return path


def _solve(recipe: Recipe, model: str, name: str, say: Say) -> list[measure.Case]:
    if recipe.evaluation is None or recipe.network != "causal":
        return []
    say(f"solving the held-out problems {name}")
    if recipe.peft is not None and not recipe.peft.mergeable and model != recipe.model:
        return measure.solve_with_adapter(recipe.model, model, recipe.evaluation)
    return measure.solve(model, recipe.evaluation, recipe.output / "evaluation", name)


def _train(job: Job, say: Say) -> None:
    try:
        try:
            trainer = job.recipe.trainer(job)
        except ValueError as error:
            raise TrainingError(f"training: {error}", param="training") from error
        trainer.remove_callback(PrinterCallback)
        if job.recipe.peft is not None:
            for callback in job.recipe.peft.callbacks():
                trainer.add_callback(callback)
        if job.recipe.guards is not None:
            attach(trainer, job.recipe.guards, *job.rewards)
        last = _checkpoint(job.folder / "checkpoints")
        if last is not None:
            say(f"going on from {last.name}")
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    finally:
        close(job.rewards[0])
    job.trainer = trainer


def _checkpoint(folder: Path) -> Path | None:
    """The last whole one (its state is written last) from which updates are still to come."""
    states = {p.parent: json.loads(p.read_text()) for p in folder.glob("checkpoint-*/trainer_state.json")}
    going = [path for path, state in states.items() if state["global_step"] < state["max_steps"]]
    return max(going, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def dry(recipe: Recipe, *, say: Say = print) -> None:
    """Check a recipe and its data, and say what its training will take; trains nothing.

    Rows that are to be sampled are not: the problems that they would be made from are counted instead.

    Raises:
        TrainingError: the data are not fit, or the model cannot be loaded.
    """
    if isinstance(recipe, Iterate):
        nowhere = recipe.output
        say(f"{recipe.rounds} rounds, each of which samples a part of the problems, and then:")
        recipe = recipe.improving(recipe.model, nowhere, nowhere, nowhere, recipe.seed)
        say(estimate.model_line(Job(recipe=recipe)))
        return
    if recipe.data is None and recipe.samples:
        assert recipe.problems is not None
        count, how = len(load(recipe.problems)), recipe.rollouts or Rollouts()
        samples = f"{how.n} samples each" if how.file is None else f"the samples in {how.file}"
        say(f"{recipe.kind} rows would be made from {count} problems with {samples}")
        say(estimate.model_line(Job(recipe=recipe)))
        return
    say(estimate.of(prepare(recipe, say=say)).line())
