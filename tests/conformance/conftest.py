"""Clients in an environment of their own, each run as a process, as their users run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.conftest import Start, live_server

if TYPE_CHECKING:
    from tests.integration.conftest import Server

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PACKAGE = ROOT / "clients" / "typescript"
BIN = ROOT / ".venv-conformance" / "bin"
LIMIT = 300
"""Seconds that one client may take: most of it is importing, on a busy machine."""
QUESTION = "Lea has 3 more than Uma. Wes found 6 coins. Uma has half as many as Wes. How many does Lea have?"


PAGE = ROOT / "docs" / "integrations.md"


def examples(language: str, url: str = "", heading: str = r".*?", page: Path = PAGE) -> list[str]:
    """A page's examples in a language, for a server elsewhere."""
    sections = re.findall(rf"^#+ {heading}\n(.*?)(?=^## |\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    found = re.findall(rf"^```{language}\n(.*?)^```$", "".join(sections), re.DOTALL | re.MULTILINE)
    return [code.replace("http://127.0.0.1:8000/v1", url) if url else code for code in found]


def example(heading: str, language: str, url: str) -> str:
    """The only example of its language under a heading."""
    (found,) = examples(language, url, re.escape(heading))
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Clients take seconds to load, and the real server a minute to start."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(4 * LIMIT))


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Runs programs in the clients' environment."""

    variables: dict[str, str] = field(default_factory=dict)

    def run(
        self, command: Sequence[str | Path], *, cwd: Path = HERE, stdin: str = "", **variables: str
    ) -> str:
        """What a program prints; it must succeed."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MULL_", "OPENAI_", "LANGSMITH_", "NODE_", "PYTHON"))
        }
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=cwd,
            env=inherited | {"PATH": path, "NO_PROXY": "127.0.0.1"} | self.variables | variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    def python(self, script: str, *arguments: str) -> Any:
        """What a script in `scripts/` found, as plain data."""
        command: list[str | Path] = [BIN / "python", HERE / "scripts" / script, *arguments]
        return json.loads(self.run(command).splitlines()[-1])

    def node(self, code: str, *arguments: str, kind: str = "module") -> str:
        """What a module prints that may import the package and what it depends on."""
        # Modules on standard input find packages from the working directory.
        command = ["node", f"--input-type={kind}", "-", *arguments]
        return self.run(command, cwd=PACKAGE, stdin=code)


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """The clients, which load nothing from anywhere."""
    if not (BIN.parent / ".mull-installed").exists():
        pytest.skip("the clients are not installed: scripts/conformance")
    return Clients(
        variables={
            "HF_HOME": str(tmp_path_factory.mktemp("hf")),
            "HF_HUB_OFFLINE": "1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LANGSMITH_TRACING": "false",
        }
    )


@pytest.fixture(scope="session")
def package(clients: Clients) -> Path:
    """The TypeScript client, built."""
    clients.run(["npm", "run", "build"], cwd=PACKAGE)
    return PACKAGE


@pytest.fixture(scope="session")
def url(server: Server) -> str:
    """The API of the real server."""
    return f"{server.url}/v1"


@pytest.fixture
def start() -> Start:
    """Start a server over a scripted model."""
    return live_server
