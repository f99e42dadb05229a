"""Files and batches, and searches watched while they run, over the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from openai import OpenAI

if TYPE_CHECKING:
    from tests.integration.conftest import Process

pytestmark = pytest.mark.slow

STRATEGIES = ("mull-tiny", "mull-tiny+majority_vote", "mull-tiny+best_of_n", "mull-tiny+beam_search")


def test_a_batch_of_searches_and_one_watched_meanwhile(
    serving: Callable[..., AbstractContextManager[Process]],
    until: Callable[..., None],
    ask: list[dict[str, str]],
    tmp_path: Path,
) -> None:
    lines = [
        {
            "custom_id": f"{model}/{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": ask, "seed": n},
        }
        for model in STRATEGIES
        for n in range(3)
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    folders = {"MULL_BATCHES__DIR": str(tmp_path / "batches"), "MULL_TRACES__DIR": str(tmp_path / "traces")}
    with (
        serving(tmp_path, MULL_ADMIN_KEY="root", **folders) as process,
        httpx.Client(base_url=process.url, timeout=600, headers={"Authorization": "Bearer root"}) as http,
        OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0, timeout=600) as client,
    ):
        file = client.files.create(file=("in.jsonl", content), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )

        def over() -> bool:
            return client.batches.retrieve(batch.id).status not in ("validating", "in_progress", "finalizing")

        running: list[str] = []

        def begun() -> bool:
            running.extend(row["id"] for row in http.get("/v1/ttc/running").json()["data"])
            return bool(running) or over()

        until(begun, process)
        assert running
        with http.stream("GET", f"/v1/ttc/traces/{running[0]}/events") as response:
            events = [line for line in response.iter_lines() if line.startswith(("event: ", "data: "))]
        until(over, process)
        batch = client.batches.retrieve(batch.id)
        assert batch.status == "completed", batch
        assert batch.error_file_id is None
        assert batch.output_file_id is not None
        answered = [json.loads(row) for row in client.files.content(batch.output_file_id).text.splitlines()]
    assert events[0] == "event: trace"
    assert "event: node" in events
    assert events[-2] == "event: end"
    assert json.loads(events[-1].removeprefix("data: "))["status"] == "finished"
    assert [row["custom_id"] for row in answered] == [line["custom_id"] for line in lines]
    bodies = [row["response"]["body"] for row in answered]
    assert {body["model"] for body in bodies} == set(STRATEGIES)
    assert all("boxed" in body["choices"][0]["message"]["content"] for body in bodies)
    assert batch.usage is not None
    assert batch.usage.output_tokens == sum(body["usage"]["completion_tokens"] for body in bodies)
