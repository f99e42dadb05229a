from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from mull import registry
from mull.errors import InvalidRequest, NotFound
from mull.registry import Registry


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = EntryPoints(
        [
            EntryPoint(name="theirs", value="fractions:Fraction", group="mull.things"),
            EntryPoint(name="ours", value="fractions:Fraction", group="mull.things"),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda *, group: found.select(group=group))


def things() -> Registry[type]:
    return Registry("thing", "mull.things", {"ours": "decimal:Decimal", "broken": "no_such_module:Thing"})


def test_knows_its_own_and_those_of_plugins() -> None:
    assert things().names() == ["broken", "ours", "theirs"]


def test_plugins_cannot_replace_what_is_built_in() -> None:
    assert things().get("ours").__name__ == "Decimal"
    assert things().get("theirs").__name__ == "Fraction"


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    with pytest.raises(ModuleNotFoundError):
        things().get("broken")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"unknown thing 'x'; known are broken, ours or theirs") as error:
        things().get("x", param="ttc.thing")
    assert (error.value.param, error.value.status) == ("ttc.thing", 404)
    assert isinstance(error.value, InvalidRequest)


def test_an_empty_registry_says_so() -> None:
    with pytest.raises(NotFound, match="none is configured"):
        Registry[type]("gadget", "mull.gadgets", {}).get("x")
