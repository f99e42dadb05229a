"""The Python client is a package of its own: small, typed, up to date, and on nothing but the openai SDK."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from packaging.requirements import Requirement

from mull.answers import KINDS
from mull.server.schemas import TTC, Include
from mull.strategies.registry import STRATEGIES
from mull_client.options import Options

FOLDER = Path(__file__).parents[2] / "clients" / "python"

ALONE = """
import sys

class Alone:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed | sys.stdlib_module_names and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"{top} is not there", name=top)

allowed = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Alone())
import mull_client
print(mull_client.__file__, mull_client.BestOfN(n=2))
"""
"""Imports the client where nothing else can be imported but what it needs."""


def test_it_is_small() -> None:
    lines = [len(path.read_text().splitlines()) for path in (FOLDER / "mull_client").glob("*.py")]
    assert 300 < sum(lines) < 500


def test_the_strategies_are_the_servers(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "generate", tmp_path)
    (tmp_path / "mull_client").mkdir()
    subprocess.run([sys.executable, tmp_path / "generate"], check=True, capture_output=True)
    fresh = (tmp_path / "mull_client" / "strategies.py").read_text()
    assert (FOLDER / "mull_client" / "strategies.py").read_text() == fresh, "run clients/python/generate"
    assert set(re.findall(r'_set\("(\w+)"', fresh)) == set(STRATEGIES.names())


def test_its_options_are_the_servers() -> None:
    known = get_type_hints(Options)
    assert set(TTC.model_fields) - {"progress"} <= known.keys()
    assert set(get_args(known["answer"])) == set(KINDS)
    assert set(get_args(get_args(known["include"])[0])) == set(get_args(Include))


def closure(name: str) -> set[str]:
    """A distribution and all that it needs, without extras."""
    found, todo = set[str](), [name]
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            needed = [Requirement(line) for line in requires(name) or ()]
            todo += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.slow
def test_the_wheel_works_alone(tmp_path: Path) -> None:
    source, out, place = (tmp_path / name for name in ("source", "out", "place"))
    shutil.copytree(FOLDER, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = out.glob("mull_client-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
        metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        wanted = [line for line in archive.read(metadata).decode().splitlines() if "Requires-Dist" in line]
    assert (place / "mull_client" / "py.typed").exists()
    assert not (place / "generate").exists()
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    assert wanted == [f"Requires-Dist: {line}" for line in project["dependencies"]]
    assert len(wanted) == 1
    assert wanted[0].startswith("Requires-Dist: openai")
    allowed = {name.replace("-", "_").lower() for name in closure("openai")} | {"mull_client"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, ",".join(sorted(allowed))],
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(place))
