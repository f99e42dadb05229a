"""Light, dark, on a phone; readable, labelled, usable by keyboard."""

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
Artefact = Callable[[str], Path]
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}
LINK = "#question=What are the digits?&model=scripted&settings=" + json.dumps(
    {"sides": [{"how": "strategy:beam_search", "parameters": {"prune": 0.3}}], "sampling": {"logprobs": True}}
)

OPEN = "for (const each of document.querySelectorAll('details')) each.open = true;"

CONTRAST = """() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const painter = canvas.getContext("2d", { willReadFrequently: true });
  const over = (...colours) => {
    painter.clearRect(0, 0, 1, 1);
    for (const colour of colours) { painter.fillStyle = colour; painter.fillRect(0, 0, 1, 1); }
    return [...painter.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const found = [];
    for (let each = element; each !== null; each = each.parentElement) {
      found.unshift(getComputedStyle(each).backgroundColor);
    }
    return found;
  };
  const poor = [];
  const unread = "[disabled], .hidden, .skip, option, svg, dialog:not([open])";
  for (const element of document.querySelectorAll("body *")) {
    const said = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    const box = element.getBoundingClientRect();
    if (!said || box.width < 2 || box.height < 2 || element.closest(unread)) continue;
    const ground = behind(element);
    const text = over(...ground, getComputedStyle(element).color);
    const [a, b] = [light(text), light(over(...ground))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 120)}`);
  }
  return poor;
}"""

BROKEN = """() => {
  const names = ["aria-describedby", "aria-labelledby", "aria-activedescendant"];
  const ids = [...document.querySelectorAll(names.map((name) => `[${name}]`).join())]
    .flatMap((each) => names.map((name) => each.getAttribute(name) ?? ""))
    .join(" ").split(" ").filter(Boolean);
  return ids.filter((id) => document.getElementById(id) === null);
}"""

FOCUSED = """() => {
  const { activeElement: here } = document;
  return here.getAttribute("aria-label") ?? here.textContent.slice(0, 20);
}"""

RAMP = """async () => {
  const { palette } = await import("/ui/colours.js");
  const light = (colour) => {
    const rgb = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
    const [r, g, b] = rgb.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const { ramp, panel } = palette();
  const pairs = ramp.map((colour) => [light(colour), light(panel)].sort((x, y) => y - x));
  return pairs.map(([a, b]) => (a + 0.05) / (b + 0.05));
}"""


def searched(page: Page) -> None:
    page.get_by_role("button", name="Search", exact=True).last.click()
    expect(page.locator('.state[data-state="done"]')).to_have_count(1)
    page.wait_for_timeout(400)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_readable(served: Any, visit: Visit, artefact: Artefact, scheme: str) -> None:
    page = visit(served.url, LINK, color_scheme=scheme)
    searched(page)
    page.evaluate(OPEN)
    assert page.evaluate(CONTRAST) == []
    # Graphics need 3 to 1.
    assert min(page.evaluate(RAMP)) >= 3
    page.screenshot(path=artefact(scheme))


def test_the_switch_wins_over_the_system_and_stays(served: Any, visit: Visit) -> None:
    page = visit(served.url, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Colours").select_option("dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_label("Colours").select_option("auto")
    assert page.evaluate(ground) == light


def test_a_phone_has_room_for_all_of_it(served: Any, visit: Visit, artefact: Artefact) -> None:
    page = visit(served.url, LINK, **PHONE)
    searched(page)
    page.screenshot(path=artefact("phone"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # After the question was sent off, the search is in view.
    assert page.locator(".pane-head").first.bounding_box()["y"] < 844  # type: ignore[index]
    box = page.locator(".tree-view").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 18, box["y"] + box["height"] / 2)
    for button in page.locator("button:visible").all():
        size = button.bounding_box()
        assert size is None or size["height"] >= 24, button.inner_text()


def test_everything_has_a_name_and_a_role(served: Any, visit: Visit) -> None:
    page = visit(served.url, LINK)
    searched(page)
    page.evaluate(OPEN)
    nameless = page.evaluate("""() => [...document.querySelectorAll("input, select, textarea, button")]
      .filter((each) => each.checkVisibility())
      .filter((each) => !(each.labels?.length || each.getAttribute("aria-label") || each.textContent.trim()))
      .map((each) => each.outerHTML)""")
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    broken = page.evaluate(BROKEN)
    assert broken == []
    for place in (
        page.get_by_role("main"),
        page.get_by_role("navigation", name="Views"),
        page.get_by_role("tree", name="Search tree"),
        page.get_by_role("group", name="Replay"),
        page.get_by_role("region", name="Votes"),
    ):
        expect(place).to_be_visible()
    # What happens is said to those who do not see it.
    expect(page.locator(".pane [role=status]")).to_contain_text("Search finished. Answer")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate("document.querySelectorAll('h1').length") == 1


def test_all_of_it_by_keyboard(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the search")).to_be_focused()
    page.locator("#question").focus()
    page.keyboard.type("What are the digits?")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_label("How to search").first).to_be_focused()
    page.keyboard.type("beam")
    page.locator("#question").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator('.state[data-state="done"]')).to_have_count(1)
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate(FOCUSED))
    assert {"Replay", "Moment of the search", "Speed", "Zoom in", "Copy link"} <= seen
    assert any(name.startswith("Search tree") for name in seen)
    outline = page.evaluate("""() => { document.querySelector("#to-bench").focus({ focusVisible: true });
      return getComputedStyle(document.activeElement).outlineStyle; }""")
    assert outline != "none"
