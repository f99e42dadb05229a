"""A calibrated policy in the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mull.server.choose import Ability, Catalog
from mull.server.schemas import ChatRequest
from mull.server.settings import ConfigurationError, load

LEVELS = [
    {"at_least": 0.875, "inner": {"strategy": "majority_vote", "n": 4}},
    {"at_least": 0, "inner": {"strategy": "best_of_n", "n": 16, "budget": {"tokens": 900}}},
]
POLICY: dict[str, Any] = {
    "format": 1,
    "presets": {
        "effort-low": {"strategy": "single", "parameters": {}},
        "effort-high": {
            "strategy": "adaptive",
            "parameters": {"samples": 4, "signal": "agreement", "levels": LEVELS},
            "verifier": "solver",
        },
    },
    "efforts": {"low": "effort-low", "high": "effort-high"},
    "provenance": {"model": "mull-tiny"},
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MULL_CONFIG", "MULL_CALIBRATION", "MULL_EFFORTS__LOW"):
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "policy.json"
    path.write_text(json.dumps(POLICY | changes))
    return path


def request(**fields: Any) -> ChatRequest:
    body = {"model": "mull-tiny", "messages": [{"role": "user", "content": "?"}], **fields}
    return ChatRequest.model_validate(body)


def test_efforts_select_the_calibrated_presets(tmp_path: Path) -> None:
    settings = load(None, calibration=written(tmp_path))
    catalog = Catalog(
        settings=settings,
        models={"mull-tiny": Ability()},
        verifiers={"solver": "process", "other": "outcome"},
    )
    plan = catalog.choose(request(reasoning_effort="high"))
    assert (plan.name, plan.verifier) == ("adaptive", "solver")
    shown = plan.strategy.model_dump()["levels"]
    assert [level["at_least"] for level in shown] == [0.875, 0]
    assert shown[1]["inner"]["strategy"] == "best_of_n"
    assert shown[1]["inner"]["budget"] == {"tokens": 900}
    assert catalog.choose(request(reasoning_effort="low")).name == "single"
    assert catalog.choose(request(model="mull-tiny+effort-high")).name == "adaptive"
    # What the policy does not say stays as it is without one.
    assert catalog.choose(request(reasoning_effort="none")).name == "single"
    assert catalog.choose(request(model="mull-tiny+quick")).name == "majority_vote"
    assert settings.efforts["xhigh"] == "thorough"


def test_what_the_configuration_sets_itself_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "mull.toml"
    config.write_text(
        f'calibration = "{written(tmp_path)}"\n'
        '[models.big]\npath = "somewhere"\n'
        '[verifiers.solver]\nkind = "prm"\nmodel = "somewhere"\n'
        '[presets.mine]\nstrategy = "majority_vote"\n'
        '[presets.effort-low]\nstrategy = "best_of_n"\n'
        '[efforts]\nhigh = "mine"\n'
    )
    settings = load(config)
    assert settings.efforts == {"low": "effort-low", "high": "mine"}
    assert settings.presets["effort-low"].strategy == "best_of_n"
    assert settings.presets.keys() == {"effort-low", "effort-high", "mine"}
    monkeypatch.setenv("MULL_EFFORTS__LOW", "mine")
    assert load(config).efforts["low"] == "mine"


def test_the_environment_can_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULL_CALIBRATION", str(written(tmp_path)))
    assert load(None).efforts["high"] == "effort-high"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format must be 1"),
        ({"presets": {}}, "presets must be"),
        ({"efforts": {"huge": "effort-low"}}, "efforts"),
        ({"efforts": {"low": "none"}}, "efforts.low: unknown preset 'none'; known are"),
        ({"more": 1}, "unknown field 'more'"),
        (
            {"presets": {**POLICY["presets"], "effort-low": {"strategy": "guess"}}},
            "presets.effort-low.strategy: unknown strategy 'guess'",
        ),
        (
            {
                "presets": {
                    **POLICY["presets"],
                    "effort-low": {"strategy": "best_of_n", "parameters": {"n": 0}},
                }
            },
            "presets.effort-low.parameters.n must be an integer from 1",
        ),
        (
            {"presets": {**POLICY["presets"], "effort-low": {"strategy": "best_of_n", "verifier": "x"}}},
            "presets.effort-low.verifier: unknown verifier 'x'",
        ),
    ],
)
def test_a_wrong_policy_names_the_field(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(None, calibration=written(tmp_path, **changes))
    assert message in refused.value.message


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"calibration: .*missing\.json: no such file"):
        load(None, calibration=tmp_path / "missing.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ConfigurationError, match=r"calibration: .*broken\.json is no JSON"):
        load(None, calibration=broken)


def test_a_preset_table_of_the_wrong_type_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="presets"):
        load(None, calibration=written(tmp_path), presets="none")


def test_the_bundled_models_come_with_a_policy() -> None:
    settings = load(None)
    assert settings.efforts["medium"] == "effort-medium"
    assert settings.presets["effort-medium"].strategy == "adaptive"
    assert dict(load(None, efforts={"medium": "quick"}).efforts) == {"medium": "quick"}
    mine = load(None, presets={"mine": {"strategy": "single"}})
    assert (mine.efforts["low"], mine.calibration) == ("quick", None)
    assert {"mine", "quick"} <= mine.presets.keys()
    other = load(None, models={"m": {"url": "http://localhost:1"}})
    assert (dict(other.efforts), dict(other.presets)) == ({}, {})
