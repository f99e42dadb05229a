"""`mull ask` on a terminal: the search is shown while it runs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from mull.server.ask.live import View, budget, newest
from mull.server.ask.search import Search
from mull.testing import ScriptedGenerator

from .conftest import WORLD, Gate, Served, Start
from .terminal import Terminal

BEAM = ("--strategy", "beam_search", "--param", "width=2", "--param", "expand=2", "--seed", 1)


def test_the_tree_and_the_budget_are_shown_before_the_answer(start: Start) -> None:
    gate = Gate(12)
    with (
        start(model=ScriptedGenerator(WORLD, pause=gate)) as served,
        Terminal("ask", "How many?", *BEAM, "--budget-tokens", 900, "--url", served.url) as terminal,
    ):
        terminal.until("tok take")
        terminal.until("/900 tokens")
        terminal.until("beam_search · prm")
        assert "\\boxed" not in terminal.text
        gate.open.set()
        assert terminal.end() == 0, terminal.text
    # What was shown meanwhile is gone: the answer and its cost are what stays.
    rest = terminal.raw[terminal.raw.rindex("\x1b[2K") :]
    assert "\\boxed{111}" in rest
    assert "beam_search · answer 111 · " in rest


def test_votes_are_shown_as_they_come(start: Start) -> None:
    gate = Gate(60)
    with (
        start(model=ScriptedGenerator(WORLD, pause=gate)) as served,
        Terminal(
            *("ask", "How many?", "--strategy", "majority_vote", "--param", "n=32", "--tree"),
            *("--seed", 3, "--temperature", 1, "--url", served.url),
        ) as terminal,
    ):
        terminal.until("━")
        gate.open.set()
        assert terminal.end() == 0, terminal.text
    # The answers of the finished search, with the server's own count.
    (first, second, *_) = re.findall(r"^ *(\d+) ━+╸? +(\d+)$", terminal.text, re.MULTILINE)[-5:]
    assert int(first[1]) >= int(second[1]) >= 1


def test_the_answer_goes_to_standard_output_alone(shared: Served) -> None:
    with Terminal("ask", "How many?", "--temperature", 0, "--url", shared.url, pipe=True) as terminal:
        assert terminal.end() == 0, terminal.text
        assert terminal.process.stdout is not None
        assert terminal.process.stdout.read() == b"take 1\ntake 1\ntake 1\n\\boxed{111}\n"
    assert "single · answer 111 · " in terminal.text


def test_an_interrupt_cancels_the_search(start: Start) -> None:
    gate = Gate(12)
    with (
        start(model=ScriptedGenerator(WORLD, pause=gate)) as served,
        Terminal("ask", "How many?", *BEAM, "--url", served.url) as terminal,
    ):
        terminal.until("tok take")
        terminal.interrupt()
        assert terminal.end() == 130
        assert terminal.text.rstrip().endswith("mull: interrupted")
        # Nothing is left of it in the engine, though the gate is closed.
        until(lambda: served.model.in_flight == 0)


def test_a_failure_in_mid_stream_is_one_line(start: Start) -> None:
    with (
        start(model=ScriptedGenerator(WORLD, fail_after=4)) as served,
        Terminal("ask", "How many?", *BEAM, "--url", served.url) as terminal,
    ):
        assert terminal.end() == 1, terminal.text
    assert terminal.text.rstrip().splitlines()[-1].startswith("mull: ")


def test_live_json_is_the_whole_completion(shared: Served, mull: Any) -> None:
    options = ("ask", "How many?", *BEAM, "--json", "--url", shared.url)
    plain, live = (json.loads(mull(*options, *more).stdout) for more in ((), ("--live",)))
    assert live["choices"][0]["message"]["content"] == plain["choices"][0]["message"]["content"]
    assert live["choices"][0]["finish_reason"] == "stop"
    assert live["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]
    assert live["ttc"]["parameters"] == plain["ttc"]["parameters"]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def node(id: int, parent: int | None = 0, **fields: Any) -> dict[str, Any]:
    known = {"kind": "step", "text": f"step {id}", "tokens": 2, "finish": "step", "score": None, "data": {}}
    return {"id": id, "parent": parent, **known, **fields}


def told(*nodes: dict[str, Any], **plan: Any) -> Search:
    search = Search(clock=lambda: 0.0)
    search.tell({"choices": [{"index": 0, "delta": {"content": ""}}], "ttc": {"strategy": "s", **plan}})
    for each in nodes:
        search.tell({"choices": [{"index": 0, "delta": {}}], "ttc": {"node": each}})
    return search


def shown(thing: Any, height: int = 20) -> list[str]:
    console = Console(width=80, height=height, color_system=None, force_terminal=True, legacy_windows=False)
    with console.capture() as captured:
        console.print(thing)
    return captured.get().splitlines()


def test_votes_count_whole_answers_by_their_spelling() -> None:
    ends = [
        node(1, text="so ", finish="step"),
        node(2, 1, text="\\boxed{ 1,000 }", finish="stop"),
        node(3, text="\\boxed{1000}", finish="stop"),
        node(4, text="\\boxed{2}", finish="stop"),
        node(5, text="\\boxed{3}", finish="length"),
        node(6, text="\\boxed{3}", finish="stop", kind="cancelled"),
        node(7, text="\\boxed{2}", finish="stop", data={"merged": True}),
    ]
    assert told(*ends).votes()[0][1] >= 1
    assert sum(votes for _, votes in told(*ends).votes()) == 3
    again = told(node(1, text="\\boxed{2}", finish="stop"), node(2, text="\\boxed{2}", finish="stop"))
    assert again.votes() == [("2", 2)]


def test_a_search_of_any_size_fits_on_the_screen() -> None:
    nodes = [node(i, max(0, i - 3)) for i in range(1, 2001)]
    search = told(*nodes, budget={"tokens": 5000, "seconds": None, "samples": None})
    search.tell({"choices": [{"index": 0, "delta": {"content": "word\n" * 500}}]})
    for height in (5, 10, 24, 60):
        assert len(shown(View(search), height)) <= height
    lines = shown(View(search), 40)
    assert "4000/5000 tokens" in lines[0]
    assert any(line.startswith("and 19") and line.endswith(" before") for line in lines)


def test_the_newest_nodes_are_kept_with_what_led_to_them() -> None:
    nodes = [node(0, None), node(1), node(2, 1), node(3), node(4, 3)]
    assert [n["id"] for n in newest(nodes, 5)] == [0, 1, 2, 3, 4]
    assert [n["id"] for n in newest(nodes, 3)] == [0, 3, 4]


def test_a_budget_counts_what_was_spent() -> None:
    nodes = [node(1, usage={"completion": 7}), node(2, tokens=3), node(3, 1, usage={"completion": 0})]
    (line,) = shown(budget({"samples": 4}, nodes, 1.25))
    assert "10 tokens" in line
    assert "3/4 samples" in line
    assert "1.2 seconds" in line


def test_another_servers_stream_is_shown_too() -> None:
    search = Search()
    for delta in ({"role": "assistant"}, {"content": "for", "reasoning": "hm"}, {"content": "ty"}):
        search.tell({"id": "x", "choices": [{"index": 0, "delta": delta}]})
    search.tell({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    search.tell({"id": "x", "choices": [], "usage": {"completion_tokens": 2}})
    assert any("forty" in line for line in shown(View(search)))
    done = search.completion()
    assert "ttc" not in done
    assert done["usage"] == {"completion_tokens": 2}
    message = {"role": "assistant", "content": "forty", "reasoning": "hm"}
    assert done["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]


@pytest.mark.parametrize("text", ["[red]x[/red]", "\x1b[2Jgone", "a\u202eb"])
def test_what_the_model_writes_is_no_control(text: str) -> None:
    search = told(node(1, text=text, finish="stop"), strategy=text)
    search.tell({"choices": [{"index": 0, "delta": {"content": text}}]})
    lines = "\n".join(shown(View(search)))
    assert "\x1b" not in lines
    assert "\u202e" not in lines
    assert ("[red]x[/red]" in lines) == text.startswith("[red]")
