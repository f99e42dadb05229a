"""Any moment of a search can be looked at again, also one that is only stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

pytest.importorskip("playwright", reason="playwright is missing: the page is not tested")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

Visit = Callable[..., "Page"]
BODY = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "What are the digits?"}],
    "seed": 3,
    "ttc": {"strategy": "beam_search"},
}


BEGIN = """async (body) => {
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, ttc: { ...body.ttc, progress: "nodes" } }),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await reader.read();
  (async () => { while (!(await reader.read()).done); })();
  return JSON.parse(value.split("\\n")[0].slice(6)).ttc.trace_id;
}"""
SCRUB = """(slider, share) => {
  slider.value = String(share * Number(slider.max));
  slider.dispatchEvent(new Event("input"));
}"""


def scrub(page: Page, share: float) -> None:
    """Move to a part of the search."""
    page.locator(".replay input").evaluate(SCRUB, share)


def tokens(page: Page) -> int:
    return int(page.locator(".meter dd span").first.inner_text().replace(",", ""))


@pytest.fixture
def kept(serve: Any, tmp_path: Path) -> Any:
    """A server that has one search stored, and its id."""
    with serve(traces={"dir": tmp_path}) as served:
        name = httpx.post(f"{served.url}/v1/chat/completions", json=BODY).json()["ttc"]["trace_id"]
        while httpx.get(f"{served.url}/v1/ttc/traces/{name}").json().get("status") != "finished":
            pass
        yield served.url, name


def test_a_stored_trace_is_replayed(kept: Any, visit: Visit) -> None:
    url, name = kept
    trace = httpx.get(f"{url}/v1/ttc/traces/{name}").json()
    page = visit(url, f"#trace={name}")
    expect(page.locator('.state[data-state="done"]')).to_have_count(1)
    assert page.locator("#question").input_value() == "What are the digits?"
    expect(page.locator(".tree-view")).to_have_attribute(
        "aria-label", f"Search tree, {len(trace['nodes'])} nodes"
    )
    expect(page.locator(".answer .final")).to_have_text(trace["answer"])
    whole = tokens(page)
    assert whole == trace["usage"]["completion_tokens"]
    scrub(page, 0)
    assert tokens(page) == 0
    expect(page.locator(".answer .final")).to_be_hidden()
    at = sorted(node["ended"] for node in trace["nodes"])[len(trace["nodes"]) // 2] / max(
        trace["seconds"], *(node["ended"] for node in trace["nodes"])
    )
    scrub(page, at + 0.002)
    assert 0 < tokens(page) < whole
    # Playing goes on from there, at the chosen speed, to the end.
    page.get_by_label("Speed").select_option("0.25")
    page.get_by_role("button", name="Replay").click()
    page.get_by_label("Speed").select_option("16")
    expect(page.locator(".answer .final")).to_be_visible()
    expect(page.get_by_role("button", name="Replay")).to_be_enabled()
    assert tokens(page) == whole
    scrub(page, 0)
    page.get_by_label("Speed").select_option("Infinity")
    expect(page.locator(".answer .final")).to_be_visible()


def test_a_search_just_watched_is_replayed_and_found_again(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    page.locator("#question").fill("What are the digits?")
    page.locator("fieldset.side").first.get_by_label("How to search").select_option("strategy:beam_search")
    page.get_by_role("button", name="Search", exact=True).last.click()
    expect(page.locator('.state[data-state="done"]')).to_have_count(1)
    whole, answer = tokens(page), page.locator(".answer .text").inner_text()
    scrub(page, 0)
    assert tokens(page) == 0
    # This server stores no traces, and yet the search is there after a reload: the browser has kept it.
    recent = page.locator("#recent li button").first
    expect(recent).to_contain_text("What are the digits?")
    page.goto(f"{served.url}/ui/")
    page.locator("#question").wait_for()
    page.locator("#recent li button").first.click()
    expect(page.locator(".answer .text")).to_have_text(re.compile(re.escape(answer.splitlines()[-1])))
    assert tokens(page) == whole
    assert page.locator("#question").input_value() == "What are the digits?"
    page.get_by_role("button", name="Forget all").click()
    expect(page.locator("#recent li")).to_have_count(0)


def test_somebody_elses_search_is_watched_while_it_runs(serve: Any, visit: Visit) -> None:
    with serve() as served:
        served.model.hold_at = 22
        first = visit(served.url)
        name = first.evaluate(BEGIN, BODY)
        second = visit(served.url, f"#trace={name}")
        expect(second.locator('.state[data-state="running"]')).to_have_count(1)
        expect(second.locator(".tree-view")).to_have_attribute("aria-label", re.compile(r" [1-9][0-9] nodes"))
        served.model.free.set()
        expect(second.locator('.state[data-state="done"]')).to_have_count(1)
        expect(second.locator(".answer .final")).to_have_text(re.compile(r"\d{4}"))


def test_a_trace_that_is_not_there(served: Any, visit: Visit) -> None:
    page = visit(served.url, "#trace=nothing", refusals=True)
    expect(page.locator("#form .problem")).to_contain_text("The stored search cannot be shown")
