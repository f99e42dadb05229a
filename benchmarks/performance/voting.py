"""Measure 4: self-consistency by mull, by its-hub 1.2.0 and by OptiLLM 0.4.0, in front of one vLLM server.

`neighbours/install` has to be run before. OptiLLM votes among answers in its plugin `majority_voting`, with
as many samples as it is told to, in one request. Its `self_consistency` draws 5 at temperature 1, one after
the other, which no request can change, and compares whole texts: mull is held against it with 5 at
temperature 1.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from benchmarks.performance.contest import (
    AT_A_TIME,
    BIN,
    ROOT,
    TOGETHER,
    Pair,
    by_http,
    configured,
    goodput,
    in_turns,
)
from benchmarks.performance.figures import Found, Target
from benchmarks.performance.servers import Server, free_port, serving, started, vllm_serving

N = 16
TEMPERATURE = 0.8
"""The bundled model's own, which its-hub's server leaves to it."""
ROOM = 512
"""Tokens that an answer may have; none needs as many."""
FEW = 5
"""Samples that OptiLLM's `self_consistency` draws."""
TEMPLATE = ROOT / "benchmarks" / "performance" / "neighbours" / "chat_template.jinja"
VOTE = {"strategy": "majority_vote", "n": N}
PAPER = {"strategy": "adaptive_consistency", "n": N}
STOPPING = PAPER | {"rule": "predictive", "confidence": 0.85, "batch": 6}
TWICE, NO_LESS = Target(bound=2.0, side="at least"), Target(bound=1.0, side="at least")

ITS, OPTI, OPTI_FEW = "its-hub's", "OptiLLM's `majority_voting`", "OptiLLM's `self_consistency`"
OURS, OURS_FEW = "mull, `majority_vote`", f"mull, `majority_vote` with n={FEW}"
AS_IN_PAPER = "mull, `adaptive_consistency` as in the paper"
EARLY = f"mull, `adaptive_consistency` ({STOPPING['rule']}, {STOPPING['confidence']}, {STOPPING['batch']})"
"""In brackets `rule`, `confidence` and `batch`."""
PAIRS = (
    Pair(ours=OURS, theirs=ITS, target=NO_LESS),
    Pair(ours=OURS, theirs=OPTI, target=NO_LESS),
    Pair(ours=EARLY, theirs=ITS, target=TWICE),
    Pair(ours=EARLY, theirs=OPTI, target=TWICE),
    Pair(ours=AS_IN_PAPER, theirs=ITS),
    Pair(ours=OURS_FEW, theirs=OPTI_FEW, target=NO_LESS),
)


async def measure(rounds: int) -> Found:
    """Right answers in a second."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        session = await enter(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        vllm = await enter(vllm_serving(chat_template=TEMPLATE))
        mull = await enter(serving(**configured({"url": vllm.url}, None)))
        its = await enter(its_hub(session, vllm.url))
        opti = await enter(optillm(vllm.url))
        sampled = {"temperature": TEMPERATURE, "max_tokens": ROOM}
        hot = {"temperature": 1, "max_tokens": ROOM}
        ways = {
            ITS: by_http(session, its.url, {}),
            OPTI: by_http(session, opti.url, sampled | {"optillm_approach": "majority_voting", "k": N}),
            OPTI_FEW: by_http(session, opti.url, hot | {"optillm_approach": "self_consistency"}),
            OURS: by_http(session, mull.url, sampled | {"ttc": VOTE}),
            AS_IN_PAPER: by_http(session, mull.url, sampled | {"ttc": PAPER}),
            EARLY: by_http(session, mull.url, sampled | {"ttc": STOPPING}),
            OURS_FEW: by_http(session, mull.url, hot | {"ttc": VOTE | {"n": FEW}}),
        }
        return Found(figures=goodput(4, await in_turns(ways, rounds, TOGETHER, AT_A_TIME), PAIRS))


@asynccontextmanager
async def its_hub(session: aiohttp.ClientSession, model: str) -> AsyncIterator[Server]:
    """Its server, told to vote among what is boxed."""
    port = free_port()
    command = (str(BIN / "its-iaas"), "--host", "127.0.0.1", "--port", str(port))
    asked: dict[str, Any] = {
        "endpoint": f"{model}/v1",
        "api_key": "none",
        "model": "mull-tiny",
        "alg": "self-consistency",
        "regex_patterns": [r"\\boxed\{([^}]+)\}"],
        "budget": N,
    }
    async with started(command, port, "/v1/models", {}) as server:
        async with session.post(server.url + "/configure", json=asked) as response:
            response.raise_for_status()
        yield server


@asynccontextmanager
async def optillm(model: str) -> AsyncIterator[Server]:
    """Its proxy."""
    port = free_port()
    command = [str(BIN / "optillm"), "--host", "127.0.0.1", "--port", str(port), "--log", "error"]
    command += ["--base-url", f"{model}/v1"]
    async with started(command, port, "/health", {"OPENAI_API_KEY": "none"}) as server:
        yield server
