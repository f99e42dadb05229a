"""Samples asked of an OpenAI-compatible server: a larger teacher, or mull itself with a strategy."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from mull.training.errors import TrainingError
from mull.training.generate import whole_lines

if TYPE_CHECKING:
    from mull.training.rollouts import Rollouts

TRIES = 4


async def ask_all(requests: Sequence[Mapping[str, Any]], out: Path, rollouts: Rollouts, seed: int) -> None:
    """Ask for the samples of each request and append them to `out`; requests that are there are left out.

    Raises:
        TrainingError: the server refuses, or does not answer after some tries.
    """
    done = {json.loads(line)["request"] for line in whole_lines(out)}
    gate = asyncio.Semaphore(rollouts.parallel)
    key = os.environ.get(rollouts.api_key_env or "", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # A search may take minutes; that nothing comes at all is told by the socket.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            with out.open("a", encoding="utf-8") as file:

                async def one(number: int) -> None:
                    async with gate:
                        samples = await _ask(session, requests[number], rollouts, seed + number)
                    file.write(json.dumps({"request": number, "samples": samples}, ensure_ascii=False) + "\n")
                    file.flush()

                tasks = [group.create_task(one(n)) for n in range(len(requests)) if n not in done]
                await asyncio.gather(*tasks)
    except* TrainingError as errors:
        raise errors.exceptions[0] from None


async def _ask(
    session: aiohttp.ClientSession, request: Mapping[str, Any], rollouts: Rollouts, seed: int
) -> list[dict[str, Any]]:
    if request.get("prefix"):
        raise TrainingError("rollouts.url: prefixes are continued by a local model only")
    body: dict[str, Any] = {
        "model": rollouts.served_as,
        "messages": request["prompt"],
        "temperature": rollouts.temperature,
        "max_tokens": rollouts.max_tokens,
    }
    if rollouts.ttc is None:
        return await _choices(session, rollouts, body | {"n": rollouts.n, "seed": seed})
    # A search gives one answer a request.
    return [
        (await _choices(session, rollouts, body | {"ttc": rollouts.ttc, "seed": seed * 4096 + n}))[0]
        for n in range(rollouts.n)
    ]


async def _choices(
    session: aiohttp.ClientSession, rollouts: Rollouts, body: Mapping[str, Any]
) -> list[dict[str, Any]]:
    url = f"{rollouts.url}/chat/completions"
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(2**attempt)
        try:
            async with session.post(url, json=body) as reply:
                text = await reply.text()
                # Overload passes; what is wrong with the request does not.
                if reply.status in (429, 502, 503, 504):
                    failure = f"{reply.status} {text[:200]}"
                    continue
                if reply.status != 200:
                    raise TrainingError(f"{url} answered {reply.status}: {text[:300]}", param="rollouts.url")
                return [_sample(choice) for choice in json.loads(text)["choices"]]
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = str(error) or type(error).__name__
    raise TrainingError(f"{url} does not answer: {failure}", param="rollouts.url")


def _sample(choice: Mapping[str, Any]) -> dict[str, Any]:
    text = choice["message"].get("content") or ""
    finish = "length" if choice.get("finish_reason") == "length" else "stop"
    return {"text": text, "finish": finish, "tokens": None, "logprob": None}
