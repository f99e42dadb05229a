"""Links that say what was asked, and models that try to be more than text."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright", reason="playwright is missing: the page is not tested")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from mull.types import Sampling

Visit = Callable[..., "Page"]
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\n"
    "</div><style>body{display:none}</style><a href='javascript:window.hacked=3'>x</a>\n"
    "\\boxed{<b onclick=hack()>1</b>}"
)


def hostile(text: str, rng: random.Random, sampling: Sampling) -> str:
    """A model that writes markup."""
    return HOSTILE[len(text) :]


def test_a_link_brings_back_question_and_settings(serve: Any, visit: Visit, tmp_path: Path) -> None:
    with serve(traces={"dir": tmp_path}) as served:
        page = visit(served.url, permissions=["clipboard-read", "clipboard-write"])
        page.locator("#question").fill('What are 1 + 1 & 2 # 3? "quoted" ü\n\nsecond line')
        first, second = (page.locator("fieldset.side").nth(i) for i in (0, 1))
        first.get_by_label("How to search").select_option("strategy:beam_search")
        first.locator("summary", has_text="Parameters").click()
        first.get_by_label("width").fill("2")
        first.get_by_label("delimiter").fill("\\n")
        page.get_by_role("button", name="Compare with a second one").click()
        second.get_by_label("How to search").select_option("strategy:best_of_n")
        second.get_by_label("Verifier").select_option("prm")
        page.get_by_text("Budget and sampling").click()
        page.get_by_role("group", name="Budget").get_by_label("samples").fill("50")
        page.get_by_label("seed").fill("7")
        page.get_by_role("button", name="Search", exact=True).last.click()
        expect(page.locator('.state[data-state="done"]')).to_have_count(2)
        # They are stored soon after they have been answered.
        page.wait_for_timeout(1000)
        page.get_by_role("button", name="Copy link").click()
        expect(page.locator("#server")).to_have_text("Link copied")
        link = page.evaluate("navigator.clipboard.readText()")
        answers = page.locator(".answer .final").all_inner_texts()

        asked: list[str] = []
        other = visit(served.url, link.removeprefix(f"{served.url}/ui/"))
        other.on("request", lambda request: asked.append(request.method))
        expect(other.locator('.state[data-state="done"]')).to_have_count(2)
        assert other.locator("#question").input_value() == page.locator("#question").input_value()
        again = other.locator("fieldset.side")
        assert again.nth(0).get_by_label("How to search").input_value() == "strategy:beam_search"
        again.nth(0).locator("summary", has_text="Parameters").click()
        assert again.nth(0).get_by_label("width").input_value() == "2"
        assert again.nth(1).get_by_label("Verifier").input_value() == "prm"
        assert other.get_by_label("samples").first.input_value() == "50"
        assert other.get_by_label("seed").input_value() == "7"
        # The stored searches come with it, and nothing is asked of the model again.
        assert other.locator(".answer .final").all_inner_texts() == answers
        assert "POST" not in asked


def test_a_link_does_not_promise_what_the_server_has_not_kept(served: Any, visit: Visit) -> None:
    page = visit(served.url, refusals=True, permissions=["clipboard-read", "clipboard-write"])
    page.locator("#question").fill("What are the digits?")
    page.get_by_role("button", name="Search", exact=True).last.click()
    expect(page.locator('.state[data-state="done"]')).to_have_count(1)
    answer = page.locator(".answer .text").inner_text()
    # This browser has kept it: a reload shows it again.
    page.reload()
    expect(page.locator(".answer .text")).to_have_text(answer, use_inner_text=True)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#server")).to_contain_text("the server has not kept it")
    link = page.evaluate("navigator.clipboard.readText()")
    assert "question=" in link
    assert "trace=" not in link


@pytest.mark.parametrize(
    "fragment",
    [
        "#settings=%7Bbroken",
        "#settings=[1]",
        '#settings={"sides":[null,5]}',
        "#model=other&question=x",
        "#view=measurements2",
        "#%E0%A4%A",
    ],
)
def test_a_broken_link_breaks_nothing(served: Any, visit: Visit, fragment: str) -> None:
    page = visit(served.url, fragment)
    expect(page.get_by_role("button", name="Search", exact=True).last).to_be_enabled()


def test_what_models_write_is_never_markup(serve: Any, visit: Visit) -> None:
    with serve(hostile) as served:
        page = visit(served.url)
        page.locator("#question").fill("<img src=x onerror='window.hacked = 4'>")
        page.locator("fieldset.side").first.get_by_label("How to search").select_option(
            "strategy:majority_vote"
        )
        page.get_by_text("Budget and sampling").click()
        page.get_by_label("log-probabilities of the answer").check()
        page.get_by_role("button", name="Search", exact=True).last.click()
        expect(page.locator('.state[data-state="done"]')).to_have_count(1)
        page.locator(".tree-view").focus()
        page.wait_for_timeout(300)
        assert page.locator(".answer .text").text_content() == HOSTILE
        assert HOSTILE in (page.locator(".node .text").first.text_content() or "")
        assert page.locator(".vote .given").first.get_attribute("title") == "<b onclick=hack()>1</b>"
        page.locator("#recent li button").first.click()
        expect(page.locator(".answer .text")).to_have_text(HOSTILE, use_inner_text=False)
        assert page.evaluate("window.hacked") is None
        assert page.locator("main script, main style, main img, main a, main b").count() == 0
