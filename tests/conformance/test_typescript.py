"""The TypeScript client passes its own tests against a scripted and against the real server."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conformance.conftest import PACKAGE, QUESTION, ROOT, Clients, examples

if TYPE_CHECKING:
    from tests.server.conftest import Start


def passed(output: str) -> tuple[int, int]:
    """How many tests passed, and how many failed."""
    counts = {word: int(n) for word, n in re.findall(r"^\S+ (pass|fail) (\d+)$", output, re.MULTILINE)}
    return counts["pass"], counts["fail"]


@pytest.mark.slow
def test_its_tests_pass_against_a_scripted_model(
    clients: Clients, package: Path, start: Start, tmp_path: Path
) -> None:
    with start(traces={"dir": tmp_path}) as live:
        output = clients.run(["npm", "test"], cwd=package, MULL_URL=f"{live.url}/v1", MULL_KEEPS_TRACES="1")
    assert passed(output) == (17, 0)


@pytest.mark.slow
def test_its_tests_pass_against_the_real_server(clients: Clients, package: Path, url: str) -> None:
    output = clients.run(["npm", "test"], cwd=package, MULL_URL=url, MULL_QUESTION=QUESTION)
    assert passed(output) == (15, 0)


@pytest.mark.slow
def test_its_examples_run(clients: Clients, package: Path, url: str) -> None:
    pages = (ROOT / "docs" / "clients.md", PACKAGE / "README.md")
    codes = [code for page in pages for code in examples("ts", url, page=page)]
    assert len(codes) == 2
    for code in codes:
        assert "\\boxed{" in clients.node(code, kind="module-typescript")


def test_its_strategies_are_those_of_the_server() -> None:
    written = runpy.run_path(str(PACKAGE / "generate"))["written"]()
    assert (PACKAGE / "src" / "strategies.ts").read_text() == written, "run clients/typescript/generate"


def test_its_lock_names_no_registry() -> None:
    lock = json.loads((PACKAGE / "package-lock.json").read_text())
    found = [name for name, package in lock["packages"].items() if "resolved" in package]
    assert found == []
    assert all("integrity" in package for name, package in lock["packages"].items() if name)
