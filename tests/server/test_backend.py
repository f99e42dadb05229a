"""What the backend starts besides engines: the retrievers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mull.errors import Unavailable
from mull.server.backend import Backend
from mull.server.settings import Settings


def backend(path: Path) -> Backend:
    settings = Settings.model_validate(
        {"models": {"m": {"path": "m"}}, "retrievers": {"facts": {"kind": "bm25", "path": str(path)}}}
    )
    return Backend(settings, generators={}, verifiers={})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "Bees make honey."}\n{"text": "Vienna"}\n')
    return path


async def test_retrievers_are_built_at_the_start(corpus: Path) -> None:
    pytest.importorskip("bm25s")
    made = backend(corpus)
    await made.open()
    made.check_started()
    assert [p.text for p in await made.retrievers["facts"].search("honey", 3)] == ["Bees make honey."]
    await made.close()


async def test_a_retriever_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    made = backend(tmp_path / "nowhere.jsonl")
    await made.open()
    with pytest.raises(Unavailable, match=r"could not start: retriever 'facts': .*nowhere\.jsonl"):
        made.check_started()
    await made.close()
