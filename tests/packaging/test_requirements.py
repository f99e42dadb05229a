"""The pinned lists fit pyproject.toml and one another, and what they leave out is left out on purpose."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

# Required by a pinned package, yet not needed to run vLLM on a CPU the way that mull does.
LEFT_OUT = {
    "anthropic": "client for the Messages API; vLLM's server imports nothing of it",
    "depyf": "shows what torch.compile made; for debugging",
    "intel-openmp": "works through LD_PRELOAD only, and pays off with many threads only",
    "mcp": "tool servers in vLLM's Responses API",
    "ninja": "builds kernels; there are none to build here",
    "numba": "n-gram speculation; 200 MB with llvmlite",
    "opencv-python-headless": "video and image input",
    "opentelemetry-api": "tracing inside vLLM, loaded when it is switched on",
    "opentelemetry-exporter-otlp": "as opentelemetry-api",
    "opentelemetry-sdk": "as opentelemetry-api",
    "opentelemetry-semantic-conventions-ai": "as opentelemetry-api",
    "python-json-logger": "JSON logs by a logging configuration of one's own",
    "torchaudio": "CUDA builds that break imports beside torch for the CPU; audio input",
    "torchcodec": "as torchaudio; video input",
    "torchvision": "as torchaudio; image input",
    "triton": "compiles GPU kernels; 1 GB",
}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in requirements}


def declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    return [Requirement(line) for line in lines]


def unmet(requirements: list[Requirement], available: dict[str, str]) -> dict[str, str]:
    """What is required but missing, or pinned to a version that is not allowed."""
    wrong: dict[str, str] = {}
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = available.get(canonicalize_name(requirement.name))
        wanted = SpecifierSet(
            str(requirement.specifier).replace("+cpu", "")
        )  # the lists name no build of torch
        if version is None or not wanted.contains(version, prereleases=True):
            wrong[canonicalize_name(requirement.name)] = f"{requirement} (pinned: {version})"
    return wrong


@pytest.mark.parametrize(
    ("extras", "lists"),
    [(("cpu",), ("cpu",)), (("train",), ("cpu", "train")), (("dev",), ("cpu", "dev"))],
)
def test_pins_satisfy_the_project(extras: tuple[str, ...], lists: tuple[str, ...]) -> None:
    available = {package: version for name in lists for package, version in pins(name).items()}
    assert unmet(declared(*extras), available) == {}


def test_lists_agree() -> None:
    train, dev = pins("train"), pins("dev")
    assert {
        name: (train[name], dev[name]) for name in train.keys() & dev.keys() if train[name] != dev[name]
    } == {}
    assert not (train.keys() | dev.keys()) & pins("cpu").keys()


def test_pins_satisfy_one_another() -> None:
    """The lists are installed without dependency resolution, so nothing else would notice a gap."""
    available = pins("cpu") | pins("train") | pins("dev")
    wrong = {}
    for name in available:
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed here: this environment was not made from the CPU lists")
        for package, message in unmet([Requirement(line) for line in required], available).items():
            if package not in LEFT_OUT:
                wrong[name] = message
    assert wrong == {}
