"""What can be told of the images without building them; deploy/prove-images builds and runs them."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

IMAGES = ("server", "all-in-one-cpu", "all-in-one-gpu", "verifier", "verifier-gpu")


@pytest.fixture(scope="module")
def stages(deploy: Path) -> dict[str, tuple[str, list[str]]]:
    """Each stage's base and instructions, in order."""
    text = (deploy / "docker" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, tuple[str, list[str]]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = (match[1], [])
        elif found:
            found[list(found)[-1]][1].append(line)
    return found


def lineage(stages: dict[str, tuple[str, list[str]]], name: str) -> list[str]:
    """All instructions that make an image."""
    base, own = stages[name]
    return [*(lineage(stages, base) if base in stages else []), *own]


@pytest.mark.parametrize("image", IMAGES)
def test_images(stages: dict[str, tuple[str, list[str]]], image: str) -> None:
    lines = lineage(stages, image)
    users = [line for line in lines if line.startswith("USER")]
    assert users[-1] == "USER 10001:10001"
    assert [line for line in lines if line.startswith("HEALTHCHECK")]
    (labels,) = [line for line in lines if line.startswith("LABEL")]
    for label in ("title", "description", "licenses", "version", "revision", "created", "base.name"):
        assert f"org.opencontainers.image.{label}=" in labels
    # Each time that Debian's packages change.
    for line in lines:
        assert not re.search("apt-get install", line) or line.endswith(
            "/mnt/debian /usr/share/mull/debian.cdx.json"
        )
    copied = [line for line in lines if line.startswith("COPY")]
    assert len(copied) == 1, "an image holds more than its environment"
    assert not [line for line in lines if line.startswith("ADD")]


def test_stages_exist(stages: dict[str, tuple[str, list[str]]]) -> None:
    for base, lines in stages.values():
        assert base in stages or base == "${BASE}"
        for line in lines:
            if match := re.search(r"--from=(\S+)", line):
                assert match[1] in stages


def test_the_base_is_pinned_by_digest(deploy: Path) -> None:
    text = (deploy / "docker" / "Dockerfile").read_text()
    pinned = re.search(r"^ARG BASE=(\S+:\S+@sha256:[0-9a-f]{64})$", text, re.MULTILINE)
    assert pinned is not None
    assert f"\nBASE_IMAGE={pinned[1]}\n" in (deploy / "compose" / ".env").read_text()


def test_the_context_has_all_parts(deploy: Path) -> None:
    kept = {
        line.removeprefix("!")
        for line in (deploy.parent / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    links = {path.name for path in (deploy.parent / "src" / "mull").iterdir() if path.is_symlink()}
    project = tomllib.loads((deploy.parent / "pyproject.toml").read_text())["project"]
    assert links | {"src", "pyproject.toml", project["readme"], *project["license-files"]} <= kept
    assert {"requirements", "deploy/docker"} <= kept
    assert all((deploy.parent / name).exists() for name in kept)


def test_the_bill_of_debians_packages(deploy: Path) -> None:
    script = runpy.run_path(str(deploy / "docker" / "debian"))
    status = """Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 12.2.0-14+deb12u1
Description: a library
 that is described: at length

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: adduser
Status: install ok installed
Architecture: all
Version: 1:3.134
"""
    made = script["bill"](status, 'NAME="Debian"\nVERSION_ID="12"\nID=debian\n')
    assert [part["purl"] for part in made["components"]] == [
        "pkg:deb/debian/adduser@1%3A3.134?arch=all&distro=debian-12",
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
    ]


def test_the_bill_of_materials_is_made_by_pinned_packages(deploy: Path) -> None:
    lines = [
        Requirement(line)
        for line in (deploy / "docker" / "sbom.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert "cyclonedx-bom" in {line.name for line in lines}
    assert all(str(line.specifier).startswith("==") for line in lines)
