"""A server whose engine has more to do than it can: a seeded search is the same as in an idle one."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from mull.server.settings import BUNDLE

if TYPE_CHECKING:
    from tests.integration.conftest import Process

SEARCH = {"strategy": "beam_search", "width": 2, "expand": 2, "include": ["trace"]}
VOTE = {"strategy": "majority_vote", "n": 16}


def test_a_seeded_search_is_the_same_in_a_crowd(
    serving: Callable[..., AbstractContextManager[Process]], ask: Any, tmp_path: Path
) -> None:
    model = BUNDLE["models"]["mull-tiny"] | {"options": {"max_num_seqs": 4}}
    settings = {"models": {"mull-tiny": model}} | {name: BUNDLE[name] for name in ("verifiers", "defaults")}
    variables = {f"MULL_{name.upper()}": json.dumps(value) for name, value in settings.items()}
    with (
        serving(tmp_path, **variables) as server,
        httpx.Client(base_url=server.url, timeout=600) as http,
        ThreadPoolExecutor(16) as pool,
    ):

        def answer(seed: int, ttc: Any) -> Any:
            body = {"model": "mull-tiny", "messages": ask, "seed": seed, "ttc": ttc}
            return http.post("/v1/chat/completions", json=body).raise_for_status().json()

        alone = [answer(seed, SEARCH) for seed in range(4)]
        crowd = [pool.submit(answer, seed, VOTE) for seed in range(4)]
        together = [pool.submit(answer, seed, SEARCH) for seed in range(4)]
        crowd += [pool.submit(answer, seed, VOTE) for seed in range(4)]
        for found, other in zip(alone, together, strict=True):
            assert tree(other.result()) == tree(found)
        assert all(each.result()["ttc"]["answer"] for each in crowd)


def tree(answer: Any) -> Any:
    """What was generated and how it was scored, in an order that does not depend on time."""
    shown = [(n["kind"], n["text"], n["tokens"], round(n["score"] or 0, 4)) for n in answer["ttc"]["trace"]]
    return sorted(each for each in shown if each[0] != "cancelled"), answer["choices"][0]["message"]
