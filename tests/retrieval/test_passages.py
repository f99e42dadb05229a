"""Reading and cutting passages."""

from __future__ import annotations

from pathlib import Path

import pytest

from mull.retrieval.passages import cut, read
from mull.types import Passage


def write(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "corpus.jsonl"
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    return path


def test_fields_become_data_and_line_numbers_ids(tmp_path: Path) -> None:
    path = write(
        tmp_path, '{"text": "é", "id": "a", "title": "T"}', "", '{"text": ""}', '{"text": "x", "id": 7}'
    )
    assert read(path) == [
        Passage(text="é", id="a", data={"title": "T"}),
        Passage(text="", id="3"),
        Passage(text="x", id="7"),
    ]


def test_an_empty_file_has_no_passages(tmp_path: Path) -> None:
    assert read(write(tmp_path)) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b'{"text": "\xff"}', "not UTF-8"),
        ('["text"]', "not a JSON object"),
        ("{}", "`text` is a string"),
        ('{"text": 1}', "`text` is a string"),
        ('{"text": "x", "id": [1]}', "`id` is a string"),
        ('{"text": "x", "id": true}', "`id` is a string"),
        (r'{"text": "\ud800"}', "not valid Unicode"),
        (r'{"text": "x", "title": "\ud800"}', "not valid Unicode"),
        ('{"text": "x", "weight": NaN}', "JSON"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str | bytes, problem: str) -> None:
    path = write(tmp_path, '{"text": "fine"}', "", line)
    with pytest.raises(ValueError, match=rf"corpus\.jsonl, line 3: .*{problem}"):
        read(path)


def test_long_passages_are_cut_and_numbered() -> None:
    long = Passage(text="One is here. Two is there. Three is nowhere.", id="a", data={"page": 1})
    short = Passage(text="Short.", id="b")
    assert [(p.id, p.text, dict(p.data)) for p in cut([long, short], 20)] == [
        ("a#1", "One is here.", {"page": 1}),
        ("a#2", "Two is there.", {"page": 1}),
        ("a#3", "Three is nowhere.", {"page": 1}),
        ("b", "Short.", {}),
    ]
