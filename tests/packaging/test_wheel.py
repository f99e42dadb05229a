"""The wheel and the source archive hold all of mull and nothing else."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("engines", "retrieval", "server", "strategies", "training", "verifiers")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def files(folder: Path) -> set[str]:
    """The files of `folder` by their path in it, without what Python and npm write there."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not {"__pycache__", "node_modules"} & set(name.split("/"))}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and the wheel made from it, built outside the checkout."""
    source = tmp_path_factory.mktemp("source")
    for part in (*PARTS, "models"):
        shutil.copytree(
            ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    shutil.copytree(
        ROOT / "src",
        source / "src",
        symlinks=True,
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
    )
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def expected() -> set[str]:
    """The kernel, the parts (Python files and recipes), the user interface and the bundled models."""
    kernel = {f"mull/{name}" for name in files(ROOT / "src" / "mull") if name.partition("/")[0] not in PARTS}
    parts = {f"mull/{part}/{name}" for part in PARTS for name in files(ROOT / part)}
    kept = {name for name in parts if name.endswith((".py", ".yaml")) or name.startswith("mull/server/ui/")}
    return kernel | kept | {f"mull/models/{name}" for name in files(ROOT / "models")}


def test_wheel_contents(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == expected()
    assert "mull/py.typed" in names


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    info = metadata.rpartition("/")[0]
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert wheel.read(f"{info}/entry_points.txt").decode().split() == [
        "[console_scripts]",
        "mull",
        "=",
        "mull.server.cli:main",
    ]
    required = [
        line for line in wheel.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")
    ]
    core = [line for line in required if "extra ==" not in line]
    assert core
    assert not [line for line in core if "vllm" in line or "torch" in line]


def test_source_archive_builds_the_same(built: Path, wheel: zipfile.ZipFile) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {f"src/{name}" for name in expected()} <= names
    assert {"pyproject.toml", "LICENSE"} <= names
