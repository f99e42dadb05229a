"""The tree: laid out without overlaps, walked by keyboard, and quick with thousands of nodes."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright", reason="playwright is missing: the page is not tested")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., "Page"]

LAYOUT = """async (parents) => {
  const { layout } = await import("/ui/layout.js");
  const nodes = parents.map((_, id) => ({ id, above: null, below: [], depth: 0, row: 0 }));
  parents.forEach((parent, id) => {
    if (id === 0) return;
    Object.assign(nodes[id], { above: nodes[parent], depth: nodes[parent].depth + 1 });
    nodes[parent].below.push(nodes[id]);
  });
  return { ...layout(nodes), places: nodes.map((node) => [node.depth, node.row]) };
}"""

SHOW = """async (count) => {
  const { Search } = await import("/ui/search.js");
  const { Stage } = await import("/ui/stage.js");
  let state = 7;
  const random = () => (state = (state * 16807) % 2147483647) / 2147483647;
  const search = new Search({ question: "synthetic", label: "synthetic" });
  const stage = new Stage();
  stage.show([search]);
  const pane = stage.panes[0];
  let [layer, id] = [[0], 1];
  while (id < count) {
    const next = [];
    for (const parent of layer) for (let i = 0; i < 5 && id < count; i += 1) {
      const cut = random() < 0.6;
      const data = cut ? { pruned: true } : {};
      const times = { started: (id - 1) / 200, ended: id / 200 };
      search.learn({ id, parent, kind: "step", text: `step ${id}\\n`, tokens: 8, finish: "step",
        score: random(), step_scores: [], usage: {}, data, ...times });
      pane.news();
      if (!cut) next.push(id);
      id += 1;
    }
    layer = next.length > 0 ? next.slice(0, 40) : [id - 1];
    // As they come: some in each frame.
    await new Promise(requestAnimationFrame);
  }
  search.ttc = { strategy: "beam_search", node: count - 1, answer: "42", seconds: count / 200 };
  search.end("done", count / 200);
  pane.news();
}"""


def shapes() -> list[list[int]]:
    """Trees by the parents of their nodes: wide, deep, and at random."""
    rng = random.Random(5)
    wild = [[rng.randrange(max(1, i)) for i in range(rng.randrange(1, 60))] for _ in range(150)]
    tangled = [[max(0, i - 1 - rng.randrange(4)) for i in range(150)] for _ in range(30)]
    return [[0], [0] * 40, [max(0, i - 1) for i in range(1000)], *wild, *tangled]


def test_layout_overlaps_nothing_and_centres_parents(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    for parents in shapes():
        laid = page.evaluate(LAYOUT, parents)
        places = laid["places"]
        layers: dict[int, list[float]] = {}
        for depth, row in places:
            layers.setdefault(depth, []).append(row)
        # Children of one node, and cousins, in the order in which they came and a row apart.
        assert all(b - a >= 1 - 1e-9 for rows in map(sorted, layers.values()) for a, b in pairwise(rows))
        for node, (_, row) in enumerate(places):
            rows = [places[child][1] for child in range(1, len(parents)) if parents[child] == node]
            assert rows == sorted(rows)
            assert not rows or (rows[0] + rows[-1]) / 2 == pytest.approx(row)
        assert min(row for _, row in places) == pytest.approx(0)
        assert max(row for _, row in places) == pytest.approx(laid["rows"] - 1)
        assert max(layers) == laid["depth"]


def test_two_thousand_nodes_stay_responsive(
    served: Any, visit: Visit, artefact: Callable[[str], Path]
) -> None:
    page = visit(served.url)
    page.evaluate("""() => {
      window.long = [];
      const note = (list) => window.long.push(...list.getEntries().map((entry) => entry.duration));
      new PerformanceObserver(note).observe({ entryTypes: ["longtask"] });
    }""")
    page.evaluate(SHOW, 2001)
    tree = page.locator(".tree-view")
    expect(tree).to_have_attribute("aria-label", "Search tree, 2001 nodes")
    tree.focus()
    for _ in range(30):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".node h4").first).to_have_text("step 1")
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Show the whole tree").click()
    page.wait_for_timeout(500)
    page.screenshot(path=artefact("two-thousand-nodes"))
    # The tree is a canvas and a few items around the selected one: the page does not grow with it.
    assert page.locator("*").count() < 700
    assert page.get_by_role("treeitem").count() <= 60
    # What is drawn in one go; the bound is generous, for machines that have other things to do.
    frame = page.evaluate("""async () => {
      const times = [];
      for (let i = 0; i < 20; i += 1) {
        await new Promise(requestAnimationFrame);
        const slider = document.querySelector(".replay input");
        slider.value = String((i / 20) * Number(slider.max));
        slider.dispatchEvent(new Event("input"));
        const began = performance.now();
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - began);
      }
      return times.sort((a, b) => a - b)[10];
    }""")
    longest = page.evaluate("Math.max(0, ...window.long)")
    print(f"2,000 nodes: a frame in {frame:.0f} ms (median), longest task {longest:.0f} ms")


def test_the_tree_is_walked_by_keyboard(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    page.evaluate(SHOW, 60)
    tree = page.get_by_role("tree")
    tree.focus()

    def current() -> Any:
        item = page.locator(f"#{tree.get_attribute('aria-activedescendant')}")
        assert item.get_attribute("role") == "treeitem"
        assert item.get_attribute("aria-selected") == "true"
        return item

    # It begins at the answer.
    expect(current()).to_contain_text("step 59")
    page.keyboard.press("Home")
    expect(current()).to_have_attribute("aria-level", "1")
    expect(current()).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowRight")
    expect(current()).to_have_attribute("aria-level", "2")
    expect(current()).to_have_attribute("aria-posinset", "1")
    expect(current()).to_have_attribute("aria-setsize", "5")
    page.keyboard.press("ArrowDown")
    expect(current()).to_have_attribute("aria-posinset", "2")
    expect(current()).to_contain_text("score 0.")
    expect(page.locator(".node h4").first).to_have_text("step 2")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(current()).to_contain_text("Question")
    page.keyboard.press("End")
    expect(current()).to_contain_text("step 59")
    page.keyboard.press("+")
    expect(page.locator(".tree-view.moved")).to_have_count(1)
    page.keyboard.press("0")
    expect(page.locator(".tree-view.moved")).to_have_count(0)
    # The links beside the tree walk too.
    page.locator(".links button").first.click()
    assert page.locator(".node h4").first.inner_text() != "step 59"


def test_a_node_is_selected_by_pointing(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    page.evaluate(SHOW, 6)
    page.wait_for_timeout(400)
    box = page.locator(".tree-view").bounding_box()
    assert box is not None
    # The root stands at the left edge, in the middle.
    page.mouse.click(box["x"] + 18, box["y"] + box["height"] / 2)
    expect(page.locator(".node h4").first).to_have_text("Question")
    expect(page.locator(".node .text")).to_have_text("synthetic")
