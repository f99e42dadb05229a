"""A search is asked for and watched: the real page on a real server over a scripted world."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

pytest.importorskip("playwright", reason="playwright is missing: the page is not tested")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "What are the digits?"
Visit = Callable[..., "Page"]


def ask(page: Page, how: str, side: int = 0) -> None:
    """Fill in the form and send it off."""
    page.locator("#question").fill(QUESTION)
    choose(page, how, side)
    page.get_by_role("button", name="Search", exact=True).last.click()


def choose(page: Page, how: str, side: int = 0) -> None:
    page.locator("fieldset.side").nth(side).get_by_label("How to search").select_option(how)


def nodes(page: Page, pane: int = 0) -> int:
    """How many nodes a tree says that it has, the root included."""
    found = re.search(r"(\d+) nodes", page.locator(".tree-view").nth(pane).get_attribute("aria-label") or "")
    return int(found[1]) if found else 0


def finished(page: Page, panes: int = 1) -> None:
    expect(page.locator('.state[data-state="done"]')).to_have_count(panes, timeout=60_000)


def meter(page: Page, name: str) -> str:
    return page.locator(".meter", has_text=name).locator("dd span").first.inner_text()


def test_a_search_is_watched_to_its_end(
    serve: Any, visit: Visit, tmp_path: Path, artefact: Callable[[str], Path]
) -> None:
    with serve(traces={"dir": tmp_path}) as served:
        page = visit(served.url)
        ask(page, "strategy:beam_search")
        finished(page)
        name = page.evaluate("new URLSearchParams(location.hash.slice(1)).get('trace')")
        page.wait_for_timeout(300)
        page.screenshot(path=artefact("search"))
        trace = stored(served.url, name, page)
        assert nodes(page) == len(trace["nodes"])
        assert page.locator(".answer .final").inner_text() == trace["answer"]
        assert page.locator(".answer .text").inner_text().strip() == trace["text"].strip()
        assert meter(page, "Tokens") == str(trace["usage"]["completion_tokens"])
        assert meter(page, "Verifier tokens") == str(trace["usage"]["verifier_tokens"])
        assert float(meter(page, "Best score")) == pytest.approx(trace["score"], abs=0.001)
        won = page.locator(".vote.won")
        expect(won.locator(".given")).to_contain_text(trace["answer"])
        # The answer's node is selected and shown, with the scores of its steps.
        expect(page.locator(".node h4").first).to_have_text(f"step {trace['node']}")
        assert page.locator(".steps li").count() == len(trace["nodes"][trace["node"]]["step_scores"])


def stored(url: str, name: str, page: Page) -> dict[str, Any]:
    """The trace as the server has it; it is written soon after the answer."""
    for _ in range(100):
        reply = httpx.get(f"{url}/v1/ttc/traces/{name}")
        if reply.status_code == 200 and reply.json()["status"] == "finished":
            found: dict[str, Any] = reply.json()
            return found
        page.wait_for_timeout(50)
    raise AssertionError(reply.text)


def test_the_tree_grows_while_the_search_runs(
    serve: Any, visit: Visit, artefact: Callable[[str], Path]
) -> None:
    with serve() as served:
        served.model.hold_at = 22
        page = visit(served.url)
        ask(page, "strategy:beam_search")
        expect(page.locator('.state[data-state="running"]')).to_have_count(1)
        expect(page.locator(".tree-view")).to_have_attribute("aria-label", re.compile(r" [1-9][0-9] nodes"))
        expect(page.locator(".meter dd span").first).not_to_have_text("0")
        assert page.get_by_role("button", name="Stop").is_enabled()
        page.screenshot(path=artefact("running"))
        seen = nodes(page)
        served.model.free.set()
        finished(page)
        assert nodes(page) > seen


def test_stopping_stops_the_engine(serve: Any, visit: Visit) -> None:
    with serve() as served:
        served.model.hold_at = 22
        page = visit(served.url)
        ask(page, "strategy:beam_search")
        expect(page.locator(".tree-view")).to_have_attribute("aria-label", re.compile(r" [1-9][0-9] nodes"))
        page.get_by_role("button", name="Stop").click()
        expect(page.locator('.state[data-state="stopped"]')).to_have_count(1)
        served.model.free.set()
        for _ in range(200):
            if served.model.in_flight == 0:
                break
            page.wait_for_timeout(50)
        assert served.model.in_flight == 0
        expect(page.get_by_role("button", name="Search", exact=True).last).to_be_enabled()


def test_votes_are_counted_while_it_runs_and_told_when_it_is_over(serve: Any, visit: Visit) -> None:
    with serve() as served:
        served.model.hold_at = 8
        page = visit(served.url)
        ask(page, "strategy:majority_vote")
        expect(page.locator(".vote").first).to_contain_text("vote")
        before = sum(votes(page))
        assert 0 < before < 16
        served.model.free.set()
        finished(page)
        expect(page.locator(".vote.won")).to_have_count(1)
        assert max(votes(page)) == votes(page)[0]


def votes(page: Page) -> list[int]:
    """The votes of each answer shown."""
    return [
        int(found[1])
        for text in page.locator(".cast").all_inner_texts()
        if (found := re.search(r"(\d+) vote", text))
    ]


def test_two_strategies_side_by_side(
    served: Any, visit: Visit, sent: Any, artefact: Callable[[str], Path]
) -> None:
    page = visit(served.url)
    bodies = sent(page)
    page.get_by_role("button", name="Compare with a second one").click()
    choose(page, "strategy:best_of_n", 1)
    ask(page, "strategy:beam_search")
    finished(page, 2)
    page.wait_for_timeout(300)
    page.screenshot(path=artefact("side-by-side"))
    assert [body["ttc"]["strategy"] for body in bodies] == ["beam_search", "best_of_n"]
    assert {json.dumps(body["messages"]) for body in bodies} == {
        json.dumps([{"role": "user", "content": QUESTION}])
    }
    assert page.locator(".pane h2").all_inner_texts() == ["beam_search", "best_of_n"]
    assert nodes(page, 1) == 17
    left, right = (page.locator(".pane").nth(i).bounding_box() for i in (0, 1))
    assert left is not None
    assert right is not None
    assert left["x"] + left["width"] <= right["x"]
    assert left["y"] == right["y"]


def test_the_budget_is_shown_and_its_end_is_said(served: Any, visit: Visit, sent: Any) -> None:
    page = visit(served.url)
    bodies = sent(page)
    page.get_by_text("Budget and sampling").click()
    page.get_by_role("group", name="Budget").get_by_label("tokens").fill("100")
    ask(page, "strategy:beam_search")
    finished(page)
    assert bodies[0]["ttc"]["budget"] == {"tokens": 100}
    expect(page.locator(".state")).to_contain_text("budget of tokens spent")
    expect(page.locator(".meter", has_text="Tokens").first.locator("small")).to_have_text("of 100")


def test_log_probabilities_of_a_node(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    page.get_by_text("Budget and sampling").click()
    page.get_by_label("log-probabilities of the answer").check()
    ask(page, "strategy:beam_search")
    finished(page)
    tokens = page.locator(".tokens span")
    expect(tokens.first).to_be_visible()
    text = "".join(tokens.all_inner_texts())
    assert re.fullmatch(r"\\boxed\{\d{4}\}", text)
    assert "%" in (tokens.first.get_attribute("title") or "")


@pytest.mark.parametrize("how", ["default", "preset:quick", "effort:low"])
def test_presets_efforts_and_the_default(serve: Any, visit: Visit, sent: Any, how: str) -> None:
    presets = {"quick": {"strategy": "majority_vote", "parameters": {"n": 3}}}
    with serve(presets=presets, efforts={"low": "quick"}) as served:
        page = visit(served.url)
        bodies = sent(page)
        ask(page, how)
        finished(page)
        assert nodes(page) == (2 if how == "default" else 4)
        expected = {
            "default": ("scripted", None),
            "preset:quick": ("scripted+quick", None),
            "effort:low": ("scripted", "low"),
        }
        assert (bodies[0]["model"], bodies[0].get("reasoning_effort")) == expected[how]
