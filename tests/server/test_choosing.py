"""How a request chooses: its body, the model's name, the effort, the default; first match wins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mull.errors import InvalidRequest, Unsupported
from mull.server.choose import Ability, Catalog, Plan, default_needs
from mull.server.schemas import TTC, ChatRequest
from mull.server.settings import load
from mull.strategies.registry import STRATEGIES

if TYPE_CHECKING:
    from tests.server.conftest import Live

SETTINGS = load(
    None,
    verifiers={kind: {"kind": kind, "model": "unused"} for kind in ("orm", "prm")},
    defaults={"strategy": "majority_vote", "parameters": {"n": 3}, "verifiers": {"outcome": "orm"}},
    presets={
        "careful": {
            "strategy": "beam_search",
            "parameters": {"width": 6},
            "budget": {"tokens": 900},
            "verifier": "prm",
        },
        "by_steps": {"strategy": "best_of_n", "verifier": "prm"},
    },
    efforts={"high": "careful", "low": "single"},
)
CATALOG = Catalog(
    settings=SETTINGS,
    models={"mull-tiny": Ability(), "far": Ability(continues=False, ends=False)},
    verifiers={"prm": "process", "orm": "outcome"},
)


def chosen(**body: Any) -> Plan:
    request = {"model": "mull-tiny", "messages": [{"role": "user", "content": "?"}], **body}
    return CATALOG.choose(ChatRequest.model_validate(request))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "majority_vote"),
        ({"reasoning_effort": "high"}, "beam_search"),
        ({"reasoning_effort": "low"}, "single"),
        ({"model": "mull-tiny+best_of_n"}, "best_of_n"),
        ({"model": "mull-tiny+careful"}, "beam_search"),
        ({"model": "mull-tiny+single", "reasoning_effort": "high"}, "single"),
        ({"ttc": {"strategy": "single"}, "model": "mull-tiny+careful"}, "single"),
        ({"ttc": {"strategy": "single"}, "reasoning_effort": "high"}, "single"),
        ({"ttc": {"n": 9}}, "majority_vote"),
    ],
)
def test_first_match_wins(body: dict[str, Any], name: str) -> None:
    assert chosen(**body).name == name


def test_the_request_adjusts_what_a_preset_says() -> None:
    plan = chosen(model="mull-tiny+careful", ttc={"expand": 2, "budget": {"seconds": 5}})
    assert plan.strategy.model_dump().items() >= {"width": 6, "expand": 2}.items()
    assert (plan.limits.tokens, plan.limits.seconds) == (900, 5)
    assert chosen(model="mull-tiny+careful", ttc={"width": 2}).strategy.model_dump()["width"] == 2
    assert chosen(ttc={"n": 9}).strategy.model_dump()["n"] == 9


def test_a_strategy_of_the_request_takes_nothing_from_the_presets() -> None:
    plan = chosen(model="mull-tiny+careful", ttc={"strategy": "beam_search"})
    assert plan.strategy.model_dump()["width"] == 4
    assert plan.limits.tokens is None


@pytest.mark.parametrize(
    ("body", "verifier"),
    [
        ({"ttc": {"strategy": "single"}}, None),
        ({"ttc": {"strategy": "best_of_n"}}, "orm"),
        ({"ttc": {"strategy": "best_of_n", "verifier": "prm"}}, "prm"),
        ({"ttc": {"strategy": "beam_search"}}, "prm"),
        ({"model": "mull-tiny+by_steps"}, "prm"),
        ({"model": "mull-tiny+by_steps", "ttc": {"verifier": "orm"}}, "orm"),
    ],
)
def test_the_verifier_that_serves(body: dict[str, Any], verifier: str | None) -> None:
    assert chosen(**body).verifier == verifier


def test_an_effort_that_is_not_configured_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="configured: high or low"):
        chosen(reasoning_effort="medium")


def test_a_strategy_without_any_verifier_for_it_is_refused() -> None:
    bare = Catalog(settings=SETTINGS, models={"mull-tiny": Ability()}, verifiers={"orm": "outcome"})
    request = ChatRequest.model_validate(
        {
            "model": "mull-tiny",
            "messages": [{"role": "user", "content": "?"}],
            "ttc": {"strategy": "beam_search"},
        }
    )
    with pytest.raises(InvalidRequest, match="kind process; none is configured"):
        bare.choose(request)
    assert "beam_search" not in list(bare.aliases("mull-tiny"))
    assert "careful" not in list(bare.aliases("mull-tiny"))


def test_only_what_works_is_an_alias() -> None:
    everywhere = {name for name in STRATEGIES.names() if not default_needs(STRATEGIES.get(name)).retriever}
    assert set(CATALOG.aliases("mull-tiny")) == everywhere | {"careful", "by_steps"}
    far = set(CATALOG.aliases("far"))
    assert far >= {"single", "majority_vote", "best_of_n", "weighted_best_of_n", "by_steps", "debate"}
    assert not far & {"beam_search", "careful", "mcts", "token_beam_search", "budget_forcing", "rag"}


def test_every_listed_model_answers(live: Live) -> None:
    names = [model.id for model in live.client.models.list()]
    assert {"mull-tiny", "mull-tiny+beam_search", "mull-tiny+careful"} <= set(names)
    for name in names:
        assert live.client.models.retrieve(name).id == name
        ask = {"model": name, "messages": [{"role": "user", "content": "What is one plus one?"}]}
        response = live.http.post("/v1/chat/completions", json=ask)
        assert response.status_code == 200, (name, response.text)
        assert response.json()["model"] == name


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh"])
def test_the_bundled_efforts(live: Live, effort: Any) -> None:
    done = live.client.chat.completions.create(
        model="mull-tiny", messages=[{"role": "user", "content": "What?"}], reasoning_effort=effort
    )
    assert done.model_extra is not None
    expected = SETTINGS_BUNDLED[effort]
    assert done.model_extra["ttc"]["strategy"] == expected


SETTINGS_BUNDLED = {
    "none": "single",
    "minimal": "single",
    "low": "beam_search",
    "medium": "adaptive",
    "high": "adaptive",
    "xhigh": "beam_search",
}


def test_no_parameter_of_a_strategy_is_hidden_by_a_field_of_ttc() -> None:
    for name in STRATEGIES.names():
        assert not set(STRATEGIES.get(name).model_fields) & set(TTC.model_fields), name


def test_a_difficulty_head_is_chosen_beside_the_verifier_of_the_answers() -> None:
    asked = {
        "strategy": "adaptive",
        "signal": "difficulty",
        "levels": [{"at_least": 0.0, "inner": {"strategy": "best_of_n", "n": 4}}],
    }
    with pytest.raises(Unsupported, match="a verifier of kind difficulty, and none is configured"):
        chosen(ttc=asked)
    request = {"model": "mull-tiny", "messages": [{"role": "user", "content": "?"}], "ttc": asked}
    catalog = replace(CATALOG, verifiers={**CATALOG.verifiers, "head": "difficulty"})
    plan = catalog.choose(ChatRequest.model_validate(request))
    assert (plan.verifier, plan.difficulty) == ("orm", "head")
    with pytest.raises(Unsupported, match="use orm"):
        catalog.choose(ChatRequest.model_validate(request | {"ttc": asked | {"verifier": "head"}}))
