"""Rollouts with the least to write."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mull.training.data.rows import Message, Rollout, Sample

Make = Callable[..., Rollout]


@pytest.fixture
def rollout() -> Make:
    """`rollout("a", ["good", ...], ["bad", ...])`: right texts, wrong texts, and fields of all samples."""

    def make(problem: str, good: Sequence[str] = (), bad: Sequence[str] = (), **fields: Any) -> Rollout:
        samples = [
            Sample(**{"text": text, "finish": "stop", "tokens": len(text.split()), "right": right} | fields)
            for right, texts in ((True, good), (False, bad))
            for text in texts
        ]
        prompt = [Message(role="user", content=f"Problem {problem}?")]
        return Rollout(problem=problem, prompt=prompt, samples=samples, source={"seed": 1})

    return make
