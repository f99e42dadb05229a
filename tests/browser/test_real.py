"""A real search on the real server, watched in a real browser to its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright", reason="playwright is missing: the page is not tested")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1200)]

QUESTION = "Lea has 3 more than Uma. Wes found 6 coins. Uma has half as many as Wes. How many does Lea have?"


def test_a_real_search_is_watched_to_its_end(
    server: Any, visit: Callable[..., Page], artefact: Callable[[str], Path]
) -> None:
    page = visit(server.url)
    chunks: list[str] = []
    page.on("response", lambda reply: chunks.append(reply.url) if "completions" in reply.url else None)
    page.locator("#question").fill(QUESTION)
    page.get_by_role("button", name="Compare with a second one").click()
    for side, how in enumerate(("strategy:beam_search", "strategy:majority_vote")):
        page.locator("fieldset.side").nth(side).get_by_label("How to search").select_option(how)
    page.get_by_text("Budget and sampling").click()
    page.get_by_role("group", name="Budget").get_by_label("tokens").fill("20000")
    page.get_by_label("seed").fill("7")
    page.get_by_role("button", name="Search", exact=True).last.click()
    expect(page.locator('.state[data-state="done"]')).to_have_count(2, timeout=300_000)
    page.wait_for_timeout(500)
    page.screenshot(path=artefact("real"))
    assert len(chunks) == 2
    answers = page.locator(".answer .final").all_inner_texts()
    assert len(answers) == 2
    assert all(answers)
    beam, vote = page.locator(".tree-view").all()
    assert int(re.findall(r"\d+", beam.get_attribute("aria-label") or "")[0]) > 17
    # The root and sixteen samples.
    expect(vote).to_have_attribute("aria-label", "Search tree, 17 nodes")
    assert page.locator(".vote.won").count() == 2
    # The solver judged each step of the answer: the node in the inspector has its score.
    expect(page.locator(".pane").first.locator(".steps li").first).to_be_visible()
    beam.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".pane").first.locator(".node h4").first).to_have_text(re.compile(r"step \d+"))
