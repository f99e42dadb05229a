"""Large bodies hold up nobody else."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live

ASK = [{"role": "user", "content": "What is one plus one?"}]


@pytest.mark.parametrize(
    ("module", "name", "path", "body"),
    [
        ("app", "parse", "/v1/chat/completions", {"messages": ASK}),
        ("completions.routes", "parse", "/v1/completions", {"prompt": "One"}),
        ("responses.routes", "parse", "/v1/responses", {"input": "One"}),
        ("messages.routes", "parse", "/v1/messages", {"messages": ASK, "max_tokens": 9}),
        ("body", "read_object", "/tokenize", {"prompt": "One"}),
        ("body", "read_object", "/v1/score", {"model": "orm", "text_1": "One?", "text_2": "1"}),
    ],
)
def test_bodies_are_understood_beside_the_event_loop(
    live: Live, monkeypatch: pytest.MonkeyPatch, module: str, name: str, path: str, body: dict[str, Any]
) -> None:
    found = importlib.import_module(f"mull.server.{module}")
    understand, beside = getattr(found, name), []

    def noticed(*given: Any, **options: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            beside.append(True)
        return understand(*given, **options)

    monkeypatch.setattr(found, name, noticed)
    assert live.http.post(path, json={"model": "mull-tiny"} | body).status_code == 200
    assert beside == [True]
