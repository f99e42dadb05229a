"""Forms made from JSON Schemas, what they send, and what becomes of errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

pytest.importorskip("playwright", reason="playwright is missing: the page is not tested")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Visit = Callable[..., "Page"]

READ = """async ([schema, values]) => {
  const { get } = await import("/ui/api.js");
  const { object } = await import("/ui/groups.js");
  const { data } = await get("v1/ttc/strategies");
  const known = new Map(data.map((each) => [each.name, each]));
  const made = object(schema, schema.$defs ?? {}, known);
  const untouched = made.read();
  made.write(values);
  return { untouched, sound: made.check(), read: made.read() };
}"""

NESTED: dict[str, dict[str, Any]] = {
    "adaptive": {
        "levels": [{"at_least": 0.0, "inner": {"strategy": "best_of_n", "n": 5, "budget": {"share": 0.5}}}]
    },
    "cascade": {"stages": [{"inner": {"strategy": "cot", "inner": {"strategy": "majority_vote", "n": 3}}}]},
    "graph_of_thoughts": {"graph": [{"op": "generate", "n": 2, "from": [0, 1]}, {"op": "keep_best"}]},
    "debate": {"models": ["a", "b"], "agents": 4},
    "beam_search": {"delimiter": "\n\n", "step_tokens": 12, "prune": 0.25},
    "few_shot": {"examples": [{"question": "1 + 1?", "answer": "2"}], "k": 1},
}


def side(page: Page, index: int = 0) -> Locator:
    return page.locator("fieldset.side").nth(index)


def test_every_strategy_has_a_form_that_changes_nothing_by_itself(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    for strategy in httpx.get(f"{served.url}/v1/ttc/strategies").json()["data"]:
        told = page.evaluate(READ, [strategy["parameters"], {}])
        assert told["untouched"] == {}, strategy["name"]
        if "scripted" not in strategy["models"]:
            continue
        side(page).get_by_label("How to search").select_option(f"strategy:{strategy['name']}")
        fields = strategy["parameters"].get("properties", {})
        summary = side(page).locator("summary", has_text=re.compile("^Parameters"))
        assert summary.count() == bool(fields)
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true;")
        for name in fields:
            shown = side(page).locator("label, .label", has_text=re.compile(f"^{name}$")).first
            expect(shown).to_be_visible()


@pytest.mark.parametrize("name", list(NESTED))
def test_what_is_written_into_a_form_is_read_from_it(served: Any, visit: Visit, name: str) -> None:
    page = visit(served.url)
    listed = httpx.get(f"{served.url}/v1/ttc/strategies").json()["data"]
    schema = next(each["parameters"] for each in listed if each["name"] == name)
    told = page.evaluate(READ, [schema, NESTED[name]])
    assert told["sound"]
    assert told["read"] == NESTED[name]


def test_only_what_was_changed_is_sent(served: Any, visit: Visit, sent: Any) -> None:
    page = visit(served.url)
    bodies = sent(page)
    page.locator("#question").fill("What are the digits?")
    side(page).get_by_label("How to search").select_option("strategy:best_of_n")
    side(page).get_by_label("n", exact=True).fill("3")
    side(page).get_by_label("aggregate").select_option("last")
    side(page).get_by_label("Verifier").select_option("prm")
    page.get_by_text("Budget and sampling").click()
    page.get_by_label("temperature").fill("0.7")
    page.get_by_label("seed").fill("5")
    page.keyboard.press("Enter")
    expect(page.locator('.state[data-state="done"]')).to_have_count(1)
    assert bodies == [
        {
            "model": "scripted",
            "messages": [{"role": "user", "content": "What are the digits?"}],
            "temperature": 0.7,
            "seed": 5,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ttc": {
                "strategy": "best_of_n",
                "n": 3,
                "aggregate": "last",
                "verifier": "prm",
                "progress": "nodes",
                "include": ["candidates", "trace"],
            },
        }
    ]


def test_a_strategy_inside_a_strategy_is_a_form_inside_the_form(served: Any, visit: Visit, sent: Any) -> None:
    page = visit(served.url)
    bodies = sent(page)
    page.locator("#question").fill("What are the digits?")
    side(page).get_by_label("How to search").select_option("strategy:cot")
    side(page).get_by_label("inner").select_option("majority_vote")
    side(page).get_by_text("Its parameters").click()
    side(page).get_by_label("n", exact=True).fill("2")
    page.get_by_role("button", name="Search", exact=True).last.click()
    expect(page.locator('.state[data-state="done"]')).to_have_count(1)
    assert bodies[0]["ttc"]["inner"] == {"strategy": "majority_vote", "n": 2}
    assert bodies[0]["ttc"]["strategy"] == "cot"


@pytest.mark.parametrize(("value", "says"), [("0", "1 to 128"), ("1.5", "whole number"), ("1e9", "1 to 128")])
def test_a_wrong_value_is_refused_beside_its_field(
    served: Any, visit: Visit, sent: Any, value: str, says: str
) -> None:
    page = visit(served.url)
    bodies = sent(page)
    page.locator("#question").fill("What are the digits?")
    side(page).get_by_label("How to search").select_option("strategy:beam_search")
    side(page).locator("summary", has_text="Parameters").click()
    side(page).get_by_label("width").fill(value)
    side(page).locator("summary", has_text="Parameters").click()
    page.get_by_role("button", name="Search", exact=True).last.click()
    field = side(page).get_by_label("width")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    described = (field.get_attribute("aria-describedby") or "").split()[-1]
    expect(page.locator(f"#{described}")).to_contain_text(says)
    assert bodies == []
    field.fill("2")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_an_empty_question_is_refused(served: Any, visit: Visit) -> None:
    page = visit(served.url)
    page.get_by_role("button", name="Search", exact=True).last.click()
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#question-error")).to_have_text("Write a question first.")


def test_an_error_of_the_server_is_shown_in_full_and_leads_to_its_field(
    served: Any, visit: Visit, artefact: Any
) -> None:
    page = visit(served.url, refusals=True)
    page.locator("#question").fill("What are the digits?")
    side(page).get_by_label("How to search").select_option("strategy:majority_vote")
    page.get_by_text("Budget and sampling").click()
    page.get_by_label("temperature").fill("0")
    page.get_by_text("Budget and sampling").click()
    page.get_by_role("button", name="Search", exact=True).last.click()
    said = "temperature 0 makes 16 samples the same; use a temperature above 0 with this strategy"
    for problem in (page.locator("#form .problem"), page.locator(".pane .problem")):
        expect(problem).to_contain_text(said)
        expect(problem).to_contain_text("temperature.")
        expect(problem).to_have_attribute("role", "alert")
    expect(page.get_by_label("temperature")).to_be_focused()
    expect(page.locator(".state")).to_have_text("failed")
    page.screenshot(path=artefact("error"))


def test_an_error_inside_a_nested_strategy_leads_to_its_field(served: Any, visit: Visit) -> None:
    state = {"sides": [{"how": "strategy:rag"}, {"how": "strategy:adaptive"}]}
    page = visit(served.url, f"#question=x&model=scripted&settings={json.dumps(state)}", refusals=True)
    found = page.evaluate("""async () => {
      const { get } = await import("/ui/api.js");
      const { object } = await import("/ui/groups.js");
      const { data } = await get("v1/ttc/strategies");
      const known = new Map(data.map((each) => [each.name, each]));
      const { parameters } = known.get("adaptive");
      const made = object(parameters, parameters.$defs, known);
      document.querySelector("#panes").append(made.element);
      const path = "levels[1].inner.n".split(/[.[\\]]+/).filter(Boolean);
      made.blame(path, "no");
      const input = made.find(path);
      const blamed = document.querySelectorAll("#panes [aria-invalid]").length;
      return [input.value, input.getAttribute("aria-invalid"), blamed];
    }""")
    assert found == ["16", "true", 1]


def test_a_key_is_asked_for_and_stays_in_the_tab(serve: Any, visit: Visit) -> None:
    with serve(api_keys=["secret"]) as served:
        page = visit(served.url, refusals=True, ready=False)
        dialog = page.get_by_role("dialog", name="API key")
        expect(dialog).to_contain_text("This server wants an API key.")
        expect(page.locator("#key")).to_be_focused()
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_be_visible()
        page.locator("#key").fill("secret")
        page.get_by_role("button", name="Use this key").click()
        page.locator("#question").fill("What are the digits?")
        page.get_by_role("button", name="Search", exact=True).last.click()
        expect(page.locator('.state[data-state="done"]')).to_have_count(1)
        page.get_by_role("button", name="Copy link").click()
        assert "secret" not in page.url
        assert page.evaluate("JSON.stringify({ ...localStorage })").find("secret") < 0
        assert page.evaluate("JSON.stringify({ ...sessionStorage })").find("secret") > 0
