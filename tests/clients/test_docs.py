"""The documentation of the Python client is what it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live

ROOT = Path(__file__).parents[2]
SERVER = "http://127.0.0.1:8000"


@pytest.mark.parametrize("page", ["docs/clients.md", "clients/python/README.md"])
def test_the_examples_run(live: Live, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace(SERVER, live.url), names)
        assert "\\boxed{" in capsys.readouterr().out
    names["client"].close()
