"""Engines killed while they work: nobody notices but the log."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from mull.server.settings import BUNDLE

from .conftest import START, Process, wait_until

QUESTION = "Tom has 3 apples. He buys 4 more and gives 2 away. How many apples does Tom have?"
STRATEGIES: tuple[dict[str, Any], ...] = (
    {"strategy": "single"},
    {"strategy": "majority_vote", "n": 8},
    {"strategy": "beam_search", "width": 2, "expand": 2},
    {"strategy": "best_of_n", "n": 8},
)


def engines(server: Process) -> list[psutil.Process]:
    """The engines' processes, oldest first: the policy's two, then the verifier's."""
    found = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.Error):
            if "EngineCore" in "".join(child.cmdline()):
                found.append(child)
    return sorted(found, key=lambda child: child.create_time())


def test_every_engine_may_die(
    serving: Callable[..., AbstractContextManager[Process]], tmp_path: Path
) -> None:
    policy = {**BUNDLE["models"]["mull-tiny"], "replicas": 2}
    settings = {
        "MULL_MODELS": json.dumps({"mull-tiny": policy}),
        "MULL_VERIFIERS": json.dumps(BUNDLE["verifiers"]),
        "MULL_DEFAULTS": json.dumps(BUNDLE["defaults"]),
    }
    with serving(tmp_path, **settings) as server, httpx.Client(base_url=server.url, timeout=START) as http:

        def metric(name: str) -> float:
            lines = http.get("/metrics").text.splitlines()
            return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

        def restarted(times: int) -> bool:
            return metric("mull_engine_restarts_total") == times

        def ask(number: int) -> tuple[int, str]:
            body = {
                "model": "mull-tiny",
                "messages": [{"role": "user", "content": f"{QUESTION} ({number})"}],
                "max_tokens": 100,
                "temperature": 0.8,
                "stream": number % 3 == 0,
                "ttc": STRATEGIES[number % 4],
            }
            answer = http.post("/v1/chat/completions", json=body)
            if body["stream"]:
                whole = answer.text.endswith("data: [DONE]\n\n") and '"error"' not in answer.text
                return answer.status_code, "complete" if whole else answer.text[-300:]
            told = answer.json()
            return answer.status_code, told["ttc"]["stopped"] if answer.status_code == 200 else str(told)

        with ThreadPoolExecutor(12) as pool:
            # A replica, the verifier (second by then), and the replica that was not killed before.
            for number, killed in enumerate((0, 1, 0), start=1):
                wait_until(lambda: len(engines(server)) == 3, server)
                asked = [pool.submit(ask, each) for each in range(36)]
                wait_until(lambda: metric("mull_running{") > 0, server)
                os.kill(engines(server)[killed].pid, signal.SIGKILL)
                assert Counter(answer.result() for answer in asked) == {(200, "complete"): 36}
                wait_until(partial(restarted, number), server)
        wait_until(lambda: http.get("/ready").status_code == 200, server)
        assert metric("mull_replica_requests{") == 0
        wait_until(lambda: metric("mull_replica_up{") == 2, server)
