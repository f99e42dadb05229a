"""Fenced code blocks."""

from __future__ import annotations

import pytest

from mull.verifiers.fences import last_block


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("none at all", None),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("text\n```\na\n```\nmore\n```py\nb\n```\nend", "b\n"),
        ("```\nnever closed", None),
        ("```\na\n```\nand\n```\nnever closed", "a\n"),
        ("~~~\na\n~~~", "a\n"),
        ("````\na\n```\nb\n````", "a\n```\nb\n"),
        ("```\na\n`````", "a\n"),
        ("  ```\n  a\n  ```", "  a\n"),
        ("```\n```", ""),
        ("inline ```code``` only", None),
        ('```python\nx = """\n    ```\n"""\n```', 'x = """\n    ```\n"""\n'),
    ],
)
def test_the_last_closed_block(text: str, block: str | None) -> None:
    assert last_block(text) == block


def test_fences_that_are_never_closed_cost_no_more_than_other_lines() -> None:
    assert last_block("```python\n" * 50_000) is None
    assert last_block("~" * 200_000 + "\n") is None
