"""The curves of the last bench."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright", reason="playwright is missing: the page is not tested")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]

FIGURES = (
    ("single", "single", 0.598, 54),
    ("single greedy", "single:greedy=true", 0.762, 55),
    ("majority_vote 4", "majority_vote:n=4", 0.70, 219),
    ("majority_vote 16", "majority_vote:n=16", 0.762, 876),
    ("beam_search", "beam_search:width=4", 0.818, 449),
    ("best_of_n 16", "best_of_n:n=16", 0.822, 876),
    ("best_of_n 64", "best_of_n:n=64", 0.848, 3500),
)


def report() -> dict[str, Any]:
    """What `mull bench` writes, as far as the page reads it."""

    def estimate(value: float, by: float = 0.0) -> dict[str, float]:
        return {"value": value, "low": value - by, "high": value + by}

    runs = [
        {
            "run": name,
            "text": text,
            "accuracy": estimate(accuracy, 0.035),
            "tokens": estimate(tokens),
            "verifier_tokens": estimate(0),
            "seconds": estimate(0.5),
        }
        for name, text, accuracy, tokens in FIGURES
    ]
    return {"model": "mull-tiny", "problems": 500, "created": "2026-11-21T12:00:00+00:00", "runs": runs}


def test_curves_and_table(serve: Any, visit: Visit, tmp_path: Path, artefact: Callable[[str], Path]) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report()))
    with serve(bench_dir=tmp_path) as served:
        page = visit(served.url)
        page.get_by_role("button", name="Measurements").click()
        expect(page.get_by_role("img", name="Accuracy against generated tokens for 7 runs")).to_be_visible()
        rows = page.get_by_role("row")
        expect(rows).to_have_count(len(FIGURES) + 1)
        tokens = [int(row.locator("td").nth(2).inner_text().replace(",", "")) for row in rows.all()[1:]]
        assert tokens == sorted(figure[3] for figure in FIGURES)
        on_front = [row.locator("th").inner_text() for row in rows.all()[1:] if "yes" in row.inner_text()]
        assert on_front == ["single", "single greedy", "beam_search", "best_of_n 16", "best_of_n 64"]
        assert page.locator(".run circle").count() == len(FIGURES)
        # Further right is dearer, further up is better.
        circles = page.locator(".run circle").evaluate_all(
            "all => all.map((c) => [Number(c.getAttribute('cx')), Number(c.getAttribute('cy'))])"
        )
        assert [x for x, _ in circles] == sorted(x for x, _ in circles)
        assert circles[-1][1] == min(y for _, y in circles)
        rows.nth(1).hover()
        expect(page.locator(".run.lit")).to_have_count(1)
        page.screenshot(path=artefact("measurements"))
        page.goto(f"{served.url}/ui/#view=measurements")
        expect(page.locator("#bench-view")).to_be_visible()


def test_without_measurements_it_says_how_to_make_them(served: Any, visit: Visit) -> None:
    page = visit(served.url, "#view=measurements", refusals=True, ready=False)
    expect(page.locator("#bench")).to_contain_text("bench_dir")
    expect(page.locator(".recipe")).to_contain_text("mull bench problems.jsonl --all --out results")
