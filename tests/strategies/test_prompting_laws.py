"""The laws again, in a world whose model replies to what it is asked about its answers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import pytest

from mull.testing import STRATEGY_LAWS, World

from .subjects import SUBJECTS
from .talking import Talker

JUDGING = [name for name in SUBJECTS if name.startswith(("rerank", "select", "self_critique", "self_verify"))]


@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", JUDGING)
async def test_law(name: str, law: Callable[..., Awaitable[None]]) -> None:
    world = inspect.signature(law).parameters["world"].default
    assert isinstance(world, World)
    await law(SUBJECTS[name], Talker(**asdict(world), judges=0.7, revises=0.6))
