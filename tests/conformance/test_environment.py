"""The pinned clients are the ones that are asked for."""

from __future__ import annotations

import re

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.conformance.conftest import ROOT


def requirements(name: str) -> list[Requirement]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_pins_are_what_is_asked_for() -> None:
    pins = {
        canonicalize_name(r.name): str(r.specifier).removeprefix("==")
        for r in requirements("conformance.txt")
    }
    for wanted in requirements("conformance.in"):
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), wanted


def test_the_pins_name_no_place() -> None:
    text = (ROOT / "requirements" / "conformance.txt").read_text()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in text.splitlines()[1:])
