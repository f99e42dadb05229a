"""From configuration to retrievers."""

from __future__ import annotations

import builtins
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from mull.errors import InvalidRequest, RetrieverUnavailable
from mull.retrieval.config import RetrieverConfig, build
from mull.retrieval.passages import read


def parse(**fields: Any) -> RetrieverConfig:
    adapter: TypeAdapter[RetrieverConfig] = TypeAdapter(RetrieverConfig)
    return adapter.validate_python(fields)


@pytest.fixture
def content() -> str:
    return '{"text": "Bees make honey. They dance."}\n{"text": "Vienna"}\n'


@pytest.fixture
def corpus(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text(content)
    return path


async def test_bm25_over_a_file(corpus: Path) -> None:
    pytest.importorskip("bm25s")
    retrievers = await build({"facts": parse(kind="bm25", path=str(corpus))})
    assert list(retrievers) == ["facts"]
    assert [p.id for p in await retrievers["facts"].search("honey", 3)] == ["1"]
    await retrievers.close()


async def test_bm25_over_chunks(corpus: Path) -> None:
    pytest.importorskip("bm25s")
    retrievers = await build({"facts": parse(kind="bm25", path=str(corpus), chunk=16)})
    assert [(p.id, p.text) for p in await retrievers["facts"].search("dance", 3)] == [("1#2", "They dance.")]


async def test_lancedb_over_a_table(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    from mull.retrieval.lance import write

    await write(str(tmp_path), "facts", ["Bees make honey.", "Vienna"])
    retrievers = await build({"facts": parse(kind="lancedb", uri=str(tmp_path), table="facts")})
    assert [p.id for p in await retrievers["facts"].search("honey", 3)] == ["1"]
    shutil.rmtree(tmp_path / "facts.lance")
    with pytest.raises(RetrieverUnavailable) as caught:
        await retrievers["facts"].search("Vienna", 3)
    assert caught.value.name == "facts"
    await retrievers.close()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"table": "nothing"}, "nothing"),
        ({"table": "facts", "text": "body"}, "no column 'body'; it has text, id"),
        ({"table": "facts", "text": "id"}, "column 'id' of table 'facts' has no full-text index"),
    ],
)
async def test_lancedb_tables_must_fit(tmp_path: Path, fields: dict[str, str], problem: str) -> None:
    pytest.importorskip("lancedb")
    from mull.retrieval.lance import write

    await write(str(tmp_path), "facts", ["Bees make honey."])
    with pytest.raises(InvalidRequest, match=problem) as caught:
        await build({"shelf": parse(kind="lancedb", uri=str(tmp_path), **fields)})
    assert caught.value.param == "retrievers.shelf"


async def test_a_missing_file_is_named_with_the_retriever(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"retriever 'facts': .*nowhere\.jsonl"):
        await build({"facts": parse(kind="bm25", path=str(tmp_path / "nowhere.jsonl"))})


@pytest.mark.parametrize("content", ["oops"])
async def test_a_bad_line_is_named_with_the_retriever(corpus: Path) -> None:
    with pytest.raises(
        InvalidRequest, match=r"retriever 'facts': .*corpus\.jsonl, line 1: not JSON"
    ) as caught:
        await build({"facts": parse(kind="bm25", path=str(corpus))})
    assert caught.value.param == "retrievers.facts"


@pytest.mark.parametrize(
    ("fields", "package", "extra"),
    [
        ({"kind": "bm25"}, "bm25s", "retrieval"),
        ({"kind": "lancedb", "uri": "x", "table": "y"}, "lancedb", "lancedb"),
    ],
)
async def test_a_missing_package_is_named_with_its_extra(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], package: str, extra: str
) -> None:
    genuine = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {package!r}", name=package)
        return genuine(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    path = {"path": str(corpus)} if fields["kind"] == "bm25" else {}
    with pytest.raises(InvalidRequest, match=rf"{package} is not installed; pip install 'mull\[{extra}\]'"):
        await build({"facts": parse(**fields, **path)})


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "bm25"},
        {"kind": "bm25", "path": ""},
        {"kind": "bm25", "path": "x", "table": "y"},
        {"kind": "bm25", "path": "x", "chunk": 0},
        {"kind": "bm25", "path": "x", "overlap": 5},
        {"kind": "bm25", "path": "x", "chunk": 5, "overlap": 5},
        {"kind": "lancedb", "uri": "x"},
        {"kind": "elastic", "path": "x"},
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse(**fields)


def test_the_retrievers_shown_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "retrieval.md").read_text()
    (block,) = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    shown = tomllib.loads(block)["retrievers"]
    assert {config["kind"] for config in shown.values()} == {"bm25", "lancedb"}
    for config in shown.values():
        parse(**config)


def test_the_line_shown_is_a_passage(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "retrieval.md").read_text()
    (block,) = re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "shown.jsonl").write_text(block)
    (passage,) = read(tmp_path / "shown.jsonl")
    assert (passage.id, dict(passage.data)) == ("leave-3", {"title": "Leave"})
