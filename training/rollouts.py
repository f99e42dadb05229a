"""Samples of problems, drawn by vLLM from a folder or asked of a server, and told right from wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.answers import Answers
from mull.training.data.labels import Continue, Start
from mull.training.data.rows import Message, Problem, Rollout, Sample, read, write
from mull.training.errors import TrainingError
from mull.training.generate import whole_lines

LAUNCHER = ("RANK", "LOCAL_", "GROUP_", "ROLE_", "WORLD_SIZE", "MASTER_", "TORCHELASTIC_", "ACCELERATE_")
"""How the variables begin that `torchrun` and `accelerate launch` set."""


class Rollouts(BaseModel):
    """How samples are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(16, ge=1, le=4096, description="Samples of each problem.")
    temperature: float = Field(1.0, ge=0)
    max_tokens: int = Field(512, ge=1)
    logprobs: bool = Field(False, description="Keep the log-probability of each sample.")
    context: int | None = Field(None, ge=16, description="Longest prompt plus answer, in tokens.")
    options: dict[str, Any] = Field(default_factory=dict, description="Arguments of vllm.LLM.")
    url: str | None = Field(
        None, pattern=r"^https?://", description="OpenAI-compatible server to ask instead."
    )
    served_as: str | None = Field(None, description="The model's name there.")
    file: Path | None = Field(None, description="Samples that exist: a file of `mull data rollouts`.")
    ttc: dict[str, Any] | None = Field(None, description="Strategy of a mull server: the teacher searches.")
    api_key_env: str | None = Field(None, description="Environment variable with the key for `url`.")
    parallel: int = Field(16, ge=1, description="Requests at once.")

    @model_validator(mode="after")
    def _served(self) -> Rollouts:
        if self.url is None and (self.ttc or self.served_as or self.api_key_env):
            raise ValueError("ttc, served_as and api_key_env only go with url")
        if self.url is not None and self.options:
            raise ValueError("options only go without url")
        return self


class Task(BaseModel):
    """One set of samples: of these requests, into this file."""

    model_config = ConfigDict(frozen=True)

    requests: Path
    out: Path
    n: int
    temperature: float
    max_tokens: int
    logprobs: bool = False


def roll_out(
    problems: Sequence[Problem], path: Path, *, model: str, rollouts: Rollouts, seed: int
) -> list[Rollout]:
    """Samples of each problem, judged against its answer; drawn once and kept in `path`.

    A file that a kill left unfinished is completed. What was drawn for other problems or otherwise is
    refused, not overwritten.

    Raises:
        TrainingError: the model or the server gives no samples, or `path` belongs to another recipe.
    """
    if rollouts.file is not None:
        return _given(problems, rollouts.file)
    made = {"model": model, "seed": seed, "rollouts": rollouts.model_dump(mode="json")}
    note = path.with_suffix(".made.json")
    if path.exists():
        found = read(path, Rollout)
        given = json.loads(note.read_text()) if note.exists() else None
        if given != made or [r.problem for r in found] != [p.id for p in problems]:
            raise TrainingError(f"{path} was drawn with other settings; give another `output` or delete it")
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    if note.exists() and json.loads(note.read_text()) != made:
        raise TrainingError(f"{note} is of other settings; give another `output` or delete it")
    note.write_text(json.dumps(made, indent=2) + "\n")
    asked = [{"prompt": messages(p.prompt)} for p in problems]
    drawn = draw(asked, path, model=model, rollouts=rollouts, seed=seed)
    texts = [(s.text, p.answer) for p, samples in zip(problems, drawn, strict=True) for s in samples]
    verdicts = iter(judge(texts))
    rows = [
        Rollout(
            problem=p.id,
            prompt=p.prompt,
            answer=p.answer,
            samples=[s.model_copy(update={"right": next(verdicts).right}) for s in samples],
            source={"kind": "rollout", "model": rollouts.served_as or model, "seed": seed}
            | ({"ttc": rollouts.ttc} if rollouts.ttc else {})
            | ({} if p.index is None else {"problem": {"seed": p.seed, "index": p.index}}),
        )
        for p, samples in zip(problems, drawn, strict=True)
    ]
    write(path, rows)
    path.with_suffix(".drawn.jsonl").unlink()
    path.with_suffix(".requests.jsonl").unlink()
    return rows


def _given(problems: Sequence[Problem], file: Path) -> list[Rollout]:
    """The rows of a file that belong to the problems, in their order."""
    found = {row.problem: row for row in read(file, Rollout)}
    missing = [p.id for p in problems if p.id not in found]
    if missing:
        raise TrainingError(
            f"{file} has no samples of {len(missing)} problems, of {missing[0]!r} for one",
            param="rollouts.file",
        )
    return [found[p.id] for p in problems]


def draw(
    requests: Sequence[Mapping[str, Any]], path: Path, *, model: str, rollouts: Rollouts, seed: int
) -> list[list[Sample]]:
    """Samples of each request (`prompt` messages and perhaps a `prefix` of the answer), unjudged.

    Leaves `path` with the suffixes `.requests.jsonl` and `.drawn.jsonl` behind, from which it goes on after a
    kill.

    Raises:
        TrainingError: the model or the server gives no samples.
    """
    asked, out = path.with_suffix(".requests.jsonl"), path.with_suffix(".drawn.jsonl")
    text = _lines(requests)
    if out.exists() and asked.exists() and asked.read_text(encoding="utf-8") != text:
        raise TrainingError(f"{out} was drawn for other problems; give another `output` or delete it")
    asked.write_text(text, encoding="utf-8")
    if rollouts.url is None:
        task = Task(
            requests=asked,
            out=out,
            n=rollouts.n,
            temperature=rollouts.temperature,
            max_tokens=rollouts.max_tokens,
            logprobs=rollouts.logprobs,
        )
        generate([task], model=model, seed=seed, context=rollouts.context, options=rollouts.options)
    else:
        from mull.training.served import ask_all

        asyncio.run(ask_all(requests, out, rollouts, seed))
    return collect(out, len(requests))


def messages(prompt: Sequence[Message]) -> list[dict[str, Any]]:
    """A prompt as plain data."""
    return [m.model_dump() for m in prompt]


def requests_of(problems: Sequence[Problem], path: Path) -> None:
    """Write the requests of some problems for `generate`."""
    path.write_text(_lines([{"prompt": messages(p.prompt)} for p in problems]), encoding="utf-8")


def _lines(requests: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in requests)


def generate(
    tasks: Sequence[Task],
    *,
    model: str,
    seed: int,
    context: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Run `mull.training.generate` on some tasks, with one start of the engine.

    Raises:
        TrainingError: the process fails; with the end of what it said.
    """
    spec = {
        "model": str(model),
        "seed": seed,
        "context": context,
        "options": dict(options or {}),
        "tasks": [t.model_dump(mode="json") for t in tasks],
    }
    path = tasks[0].out.with_suffix(".spec.json")
    path.write_text(json.dumps(spec))
    command = [sys.executable, "-m", "mull.training.generate", str(path)]
    # vLLM would take what a launcher told this process for its own, and wait for the others.
    alone = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=alone)
    path.unlink()
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise TrainingError(f"sampling from {model} failed: " + " | ".join(lines[-3:])[-600:])


def collect(out: Path, count: int) -> list[list[Sample]]:
    """What `generate` or a server wrote, in the order of the requests.

    Raises:
        TrainingError: some requests have no samples.
    """
    found = {row["request"]: row["samples"] for row in map(json.loads, whole_lines(out))}
    missing = [n for n in range(count) if n not in found]
    if missing:
        raise TrainingError(f"{out}: {len(missing)} of {count} requests got no samples; one is {missing[0]}")
    return [[Sample(**s) for s in found[n]] for n in range(count)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The final answer of a text, and whether it equals the reference; None where there is none."""

    answer: str | None
    right: bool | None


def judge(pairs: Sequence[tuple[str, str | None]]) -> list[Verdict]:
    """The verdict on each text, given its reference answer."""
    return asyncio.run(_judge(pairs))


async def _judge(pairs: Sequence[tuple[str, str | None]]) -> list[Verdict]:
    known: dict[tuple[str, str], bool] = {}
    verdicts = []
    async with Answers() as answers:
        for text, reference in pairs:
            answer = await answers.extract(text)
            if reference is None or answer is None:
                verdicts.append(Verdict(answer, None if reference is None else False))
                continue
            if (answer, reference) not in known:
                known[answer, reference] = await answers.equal(answer, reference)
            verdicts.append(Verdict(answer, known[answer, reference]))
    return verdicts


def continued(
    starts: Sequence[Start], path: Path, *, model: str, rollouts: Rollouts, seed: int
) -> list[list[Sample]]:
    """Samples that go on from each prefix: their own text alone, judged together with the prefix.

    Raises:
        TrainingError: the model or the server gives no samples.
    """
    asked = [{"prompt": messages(prompt), "prefix": prefix} for prompt, prefix, _ in starts]
    drawn = draw(asked, path, model=model, rollouts=rollouts, seed=seed)
    texts = [
        (prefix + s.text, reference)
        for (_, prefix, reference), samples in zip(starts, drawn, strict=True)
        for s in samples
    ]
    verdicts = iter(judge(texts))
    return [[s.model_copy(update={"right": next(verdicts).right}) for s in samples] for samples in drawn]


def continuations(path: Path, *, model: str, rollouts: Rollouts, seed: int) -> Continue:
    """Draws samples that go on from prefixes; each call keeps a file of its own beside `path`."""
    calls = 0

    def go_on(starts: Sequence[Start], n: int) -> list[list[bool]]:
        nonlocal calls
        file = path.with_name(f"{path.stem}-{calls}{path.suffix}")
        calls += 1
        how = rollouts.model_copy(update={"n": n})
        drawn = continued(starts, file, model=model, rollouts=how, seed=seed + calls)
        return [[bool(s.right) for s in samples] for samples in drawn]

    return go_on
