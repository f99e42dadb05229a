"""The models in the repository are complete, small, and say what they can do."""

import json
from pathlib import Path

import pytest

from mull.training.card import Card, render
from mull.training.statistics import Figure, auc, bootstrap

MODELS = Path(__file__).parents[2] / "models"
NAMES = ("policy", "prm", "orm", "solver")


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_its_files(name: str) -> None:
    found = {file.name for file in (MODELS / name).iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    } <= found


@pytest.mark.parametrize("name", NAMES)
def test_every_card_has_figures_with_intervals(name: str) -> None:
    card = (MODELS / name / "README.md").read_text()
    assert "95 % interval" in card
    assert "mull train" in card
    assert card.count(" to ") > 3


def test_the_models_are_smaller_than_thirty_megabytes() -> None:
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 30_000_000


def test_the_models_share_one_tokenizer() -> None:
    texts = {(MODELS / name / "tokenizer.json").read_text() for name in NAMES}
    assert len(texts) == 1


def test_the_tokenizer_in_the_models_is_the_one_in_the_code() -> None:
    pytest.importorskip("tokenizers")
    from mull.training.bundled import tokenizer

    assert json.loads(tokenizer.build().to_str()) == json.loads(
        (MODELS / "policy/tokenizer.json").read_text()
    )


def test_a_card_renders_facts_figures_and_commands() -> None:
    card = Card(
        "Name", "Summary.", {"Size": "1 MB"}, {"greedy": Figure(0.5, 0.4, 0.6)}, "How.", ["run"], ["Note."]
    )
    text = render(card)
    assert "| Size | 1 MB |" in text
    assert "| greedy | 0.500 | 0.400 to 0.600 |" in text
    assert "- Note." in text
    assert "run\n```" in text


def test_auc_counts_pairs() -> None:
    assert auc([0.9, 0.8, 0.1], [True, True, False]) == 1.0
    assert auc([0.1, 0.9], [True, False]) == 0.0
    assert auc([0.5, 0.5], [True, False]) == 0.5
    assert auc([0.5, 0.7], [True, True]) == 0.5


def test_bootstrap_encloses_the_value() -> None:
    figure = bootstrap([0.0, 1.0] * 50, lambda xs: sum(xs) / len(xs))
    assert figure.value == 0.5
    assert 0.35 < figure.low < 0.5 < figure.high < 0.65
