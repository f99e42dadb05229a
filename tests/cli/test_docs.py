"""The documentation says what the code does."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mull.errors import MullError
from mull.server import exits
from mull.server.ask.chat import HELP
from mull.server.cli import app
from mull.server.schemas import TTC, ChatRequest
from mull.server.settings import Settings, load
from mull.strategies.registry import STRATEGIES
from mull.strategies.steps import StepSearch
from mull.verifiers.config import parse

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def section(page: str, heading: str) -> str:
    _, _, rest = (ROOT / page).read_text().partition(f"\n## {heading}\n")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


SHARED = {"depth", "delimiter", "step_tokens", "aggregate"}
"""Parameters that the page about search describes once for all searches over steps."""


def described(name: str) -> str:
    pages = [str(page.relative_to(ROOT)) for page in (ROOT / "docs/strategies").glob("*.md")]
    (found,) = [text for page in pages if (text := section(page, name))]
    return found


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_is_described_with_its_parameters(name: str) -> None:
    for page in ("README.md", "docs/strategies.md"):
        assert f"`{name}`" in (ROOT / page).read_text()
    strategy: type[BaseModel] = STRATEGIES.get(name)
    _, _, table = described(name).partition("\n| parameter |")
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.+?) \|", table.partition("\n\n")[0], re.MULTILINE)
    rows = {field: value for fields, value in cells for field in re.findall(r"\w+", fields)}
    stepwise = issubclass(strategy, StepSearch)
    assert rows.keys() <= strategy.model_fields.keys()
    assert strategy.model_fields.keys() - rows.keys() <= (SHARED if stepwise else set())
    for field, info in strategy.model_fields.items():
        if isinstance(info.default, bool | int | float) and field in rows:
            assert json.dumps(info.default) in re.findall(r"[\w.]+", rows[field]) or (
                f"{info.default:g}" in re.findall(r"[\w.]+", rows[field])
            ), field


def test_every_field_of_ttc_is_described() -> None:
    described = section("docs/api.md", "The request")
    assert [field for field in TTC.model_fields if f"| `{field}` |" not in described] == []


def test_every_request_field_is_named() -> None:
    text = section("docs/api.md", "The request").replace(
        "the penalties", "`frequency_penalty`, `presence_penalty`"
    )
    assert [field for field in ChatRequest.model_fields if f"`{field}`" not in text] == []


def test_every_setting_is_named() -> None:
    described = section("docs/api.md", "Configuration")
    named = set(re.findall(r"`(\w+)`|^\[?(\w+)", described, re.MULTILINE))
    words = {word for pair in named for word in pair}
    assert set(Settings.model_fields) <= words


def test_the_configuration_shown_is_valid(tmp_path: Path) -> None:
    (shown,) = blocks("docs/api.md", "toml")
    path = tmp_path / "mull.toml"
    path.write_text(shown)
    settings = load(path)
    assert settings.presets["careful"].parameters == {"width": 8, "expand": 4}
    assert settings.limits.n == 16


def test_the_verifiers_shown_are_valid() -> None:
    configs: dict[str, Any] = {}
    for block in blocks("docs/verifiers.md", "toml"):
        configs |= tomllib.loads(block)["verifiers"]
    formats = re.findall(r"^\| `(\{type = .*?\})` \|", (ROOT / "docs/verifiers.md").read_text(), re.MULTILINE)
    assert len(formats) == 4
    for number, shown in enumerate(formats):
        configs[f"format {number}"] = {"kind": "prm", "model": "m", **tomllib.loads(f"format = {shown}")}
    for name, config in configs.items():
        try:
            parse(config)
        except MullError as error:
            pytest.fail(f"{name}: {error}")


def test_the_verifier_shown_is_the_tested_one() -> None:
    (shown,) = blocks("docs/verifiers.md", "python")
    assert shown in (ROOT / "tests/plugin/mull_example/verifier.py").read_text()


def test_every_command_and_exit_code_is_described() -> None:
    text = (ROOT / "docs/terminal.md").read_text()
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert len(names) >= 10
    assert [name for name in [*names, "data", "train"] if f"`mull {name}" not in text] == []
    codes = re.findall(r"^(\d+) ", exits.__doc__ or "", re.MULTILINE)
    assert re.findall(r"^\| (\d+) \|", section("docs/terminal.md", "Errors"), re.MULTILINE) == codes
    assert set(map(int, codes)) == {0, exits.FAILED, exits.USAGE, exits.NO_SERVER, exits.INTERRUPTED}


def test_every_command_of_a_conversation_is_described() -> None:
    known = set(re.findall(r"^/\w+", HELP, re.MULTILINE))
    assert known == set(re.findall(r"`(/\w+)", section("docs/terminal.md", "Chat")))
