"""Model cards: what a bundled model is, how it was made and what was measured, in its README.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mull.training.statistics import Figure


@dataclass(frozen=True, slots=True)
class Card:
    """Content of one card."""

    title: str
    summary: str
    """One paragraph: what the model does and what it does not."""
    facts: Mapping[str, str]
    """Size, data, training, in the order of the table."""
    figures: Mapping[str, Figure]
    measured: str
    """How the figures were taken."""
    commands: Sequence[str]
    """How to train it again."""
    notes: Sequence[str] = ()
    """What a reader should know before trusting the figures."""


def render(card: Card) -> str:
    """The card as Markdown."""
    lines = ["---", "library_name: transformers", "license: apache-2.0", "language: en", "---", ""]
    lines += [f"# {card.title}", "", card.summary, "", "| | |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in card.facts.items()]
    lines += ["", "## Figures", "", card.measured, "", "| figure | value | 95 % interval |", "|---|---|---|"]
    lines += [f"| {name} | {f.value:.3f} | {f.low:.3f} to {f.high:.3f} |" for name, f in card.figures.items()]
    if card.notes:
        lines += ["", "## Limits", "", *(f"- {note}" for note in card.notes)]
    lines += ["", "## Reproduce", "", "```sh", *card.commands, "```", ""]
    return "\n".join(lines)


def write_card(card: Card, folder: Path) -> None:
    """Write the card beside the weights."""
    (folder / "README.md").write_text(render(card))
