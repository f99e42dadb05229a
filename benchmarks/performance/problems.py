"""Questions that the bundled policy was trained for, and has not seen."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from mull.types import Chat, Sampling, Task

MODELS = Path(__file__).parents[2] / "models"
MULL = (sys.executable, "-c", "from mull.server.cli import main; main()")
SEED = "20251"


@cache
def lines(count: int) -> tuple[str, ...]:
    """Problems as `mull data problems` writes them."""
    command = [*MULL, "data", "problems", "--seed", SEED, "--count", str(count)]
    return tuple(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


def questions(count: int) -> list[str]:
    """The questions alone."""
    return [str(json.loads(line)["question"]) for line in lines(count)]


def task(question: str, seed: int = 0, **sampling: Any) -> Task:
    """A question as a request's task, sampled as the model's own settings say."""
    chat = Chat(messages=({"role": "user", "content": question},))
    return Task(chat=chat, sampling=Sampling(seed=seed, **sampling))
