"""The example plugin: installed as users would install it, it works, and CONTRIBUTING shows it as it is."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from mull.server.app import create_app
from mull.server.settings import load
from mull.strategies.registry import STRATEGIES
from mull.testing import STRATEGY_LAWS, ScriptedGenerator, Subject, World
from mull.verifiers.config import build, parse
from mull.verifiers.registry import PLUGINS

HERE = Path(__file__).parent
CONTRIBUTING = HERE.parents[1] / "CONTRIBUTING.md"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed into it."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    shutil.copytree(HERE, source)  # building leaves files behind
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that starts with the package installed: plugins are looked for once."""
    monkeypatch.syspath_prepend(site)
    forget_plugins()
    yield
    forget_plugins()


def forget_plugins() -> None:
    for registry in (STRATEGIES, PLUGINS):
        vars(registry).pop("_targets", None)


@pytest.mark.usefixtures("installed")
def test_the_strategy_is_published_and_answers() -> None:
    world = World(depth=2, skill=0.9)
    app = create_app(load(None), generators={"m": ScriptedGenerator(world)}, verifiers={})
    body = {
        "model": "m+until_agreed",
        "messages": [{"role": "user", "content": "How many?"}],
        "seed": 1,
        "ttc": {"agree": 3},
    }
    with TestClient(app) as client:
        published = {s["name"]: s for s in client.get("/v1/ttc/strategies").json()["data"]}
        models = [model["id"] for model in client.get("/v1/models").json()["data"]]
        answer = client.post("/v1/chat/completions", json=body).json()
        refused = client.post("/v1/chat/completions", json={**body, "ttc": {"agree": 0}})
    assert published["until_agreed"]["parameters"]["properties"]["agree"]["maximum"] == 64
    assert "m+until_agreed" in models
    assert answer["ttc"]["answer"] == world.reference
    assert 3 <= answer["ttc"]["samples"] < 16
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "ttc.agree"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
async def test_the_strategy_keeps_the_laws(law: Callable[[Subject], Awaitable[None]]) -> None:
    await law(lambda: STRATEGIES.get("until_agreed")())


@pytest.mark.usefixtures("installed")
def test_the_verifier_is_built_from_the_configuration() -> None:
    async def built() -> tuple[str, str]:
        verifiers = await build(
            {"short": parse({"kind": "plugin", "use": "brevity", "options": {"characters": 9}})}
        )
        try:
            return verifiers["short"].name, verifiers["short"].kind
        finally:
            await verifiers.close()

    assert asyncio.run(built()) == ("short", "outcome")


def test_without_it_nothing_is_known_of_it() -> None:
    assert "until_agreed" not in STRATEGIES.names()


@pytest.mark.parametrize("file", ["mull_example/strategy.py", "pyproject.toml"])
def test_contributing_shows_what_is_tested_here(file: str) -> None:
    language = {".py": "python", ".toml": "toml"}[Path(file).suffix]
    shown = re.findall(rf"^```{language}\n(.*?)^```$", CONTRIBUTING.read_text(), re.DOTALL | re.MULTILINE)
    source = (HERE / file).read_text()
    assert any(block in source for block in shown), (
        f"no {language} block of CONTRIBUTING.md is part of {file}"
    )
    assert len((HERE / "mull_example/strategy.py").read_text().splitlines()) <= 30
