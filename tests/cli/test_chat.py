"""`mull chat`, on a terminal and in a pipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby

import pytest
from typer.testing import CliRunner, Result

from mull.server.cli import app
from mull.testing import ScriptedGenerator, World
from mull.types import Chat

from .conftest import WORLD, Gate, Served, Start
from .terminal import Terminal


def piped(served: Served, text: str, *options: object) -> Result:
    line = ["chat", "--temperature", "0", "--url", served.url, *map(str, options)]
    return CliRunner().invoke(app, line, input=text)


ANSWER = "take 1\ntake 1\ntake 1\n\\boxed{111}\n"


def test_lines_of_a_pipe_are_turns_of_one_conversation(shared: Served) -> None:
    result = piped(shared, "How many?\n\nAre you sure?\n", "--json", "--system", "Be brief.")
    assert result.exit_code == 0, result.output
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["choices"][0]["message"]["content"] + "\n" == ANSWER
    asked = ["system: Be brief.\n", "user: How many?\n", "assistant: "]
    assert first["usage"]["prompt_tokens"] == len("".join(asked))
    asked[2:] = [f"assistant: {ANSWER}", "user: Are you sure?\n", "assistant: "]
    assert second["usage"]["prompt_tokens"] == len("".join(asked))


def test_answers_go_to_standard_output_alone(shared: Served) -> None:
    result = piped(shared, "How many?\n/reset\nHow many?\n/quit\nunheard\n")
    assert result.exit_code == 0
    assert result.stdout == 2 * ANSWER
    assert "the conversation is forgotten" in result.stderr


def test_commands_choose_how_to_think(shared: Served) -> None:
    lines = [
        "/strategy beam_search width=2 expand=2",
        "/verifier prm",
        "/budget 900",
        "one",
        "/budget tokens=500 seconds=9.5",
        "/strategy",
        "two",
        "/strategy none",
        "/verifier none",
        "/budget none",
        "three",
    ]
    result = piped(shared, "\n".join(lines), "--json", "--temperature", 1)
    assert result.exit_code == 0, result.output
    one, two, three = (json.loads(line)["ttc"] for line in result.stdout.splitlines())
    assert (one["strategy"], one["parameters"]["width"], one["verifier"]) == ("beam_search", 2, "prm")
    assert one["budget"]["tokens"] == 900
    assert two["strategy"] == "beam_search"
    assert two["budget"] == {"tokens": 500, "seconds": 9.5, "samples": None}
    assert three["strategy"] == "single"
    assert three["budget"]["tokens"] is None
    assert "strategy: beam_search width=2 expand=2\n" in result.stderr
    assert "budget: 500 tokens, 9.5 seconds\n" in result.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/dance", "unknown command /dance; /help lists them"),
        ("/strategy guess", "unknown strategy guess; the server has adaptive, "),
        ("/strategy best_of_n n", "'n' is not of the form name=value"),
        ("/verifier oracle", "unknown verifier oracle; the server has orm, prm"),
        ("/budget money=3", "a budget has tokens, seconds, samples, each a number, not money=3"),
        ("/budget tokens=many", "not tokens=many"),
    ],
)
def test_a_wrong_line_ends_a_pipe_with_the_remedy(shared: Served, line: str, message: str) -> None:
    result = piped(shared, f"{line}\nHow many?\n")
    assert result.exit_code == 1
    assert result.stderr.count("mull: ") == 1
    assert message in result.stderr
    assert result.stdout == ""


def test_a_slash_can_begin_a_message(shared: Served) -> None:
    result = piped(shared, "//x\n", "--json")
    assert json.loads(result.stdout)["usage"]["prompt_tokens"] == len("user: /x\nassistant: ")


def test_no_server_is_told_at_once(mull: Callable[..., Result]) -> None:
    result = mull("chat", "--url", "http://127.0.0.1:1/v1")
    assert result.exit_code == 3
    assert "mull serve" in result.stderr


def test_a_conversation_on_a_terminal(start: Start) -> None:
    gate, chats = Gate(20), list[Chat]()
    gate.open.set()

    def talk(chat: Chat) -> World:
        chats.append(chat)
        return WORLD

    with (
        start(model=ScriptedGenerator(WORLD, pause=gate, talk=talk)) as served,
        Terminal("chat", "--url", served.url) as terminal,
    ):
        at = terminal.until("> ")
        terminal.enter("/help")
        at = terminal.until("Ctrl-C cancels", after=at)
        terminal.enter("How many?")
        at = terminal.until("single · answer ", after=at)

        # A search that hangs is cancelled, and forgotten; the program goes on.
        gate.open.clear()
        gate.turns = gate.taken + 12
        terminal.enter("/strategy beam_search width=2 expand=2")
        at = terminal.until("expand=2\n", after=terminal.until("strategy: beam_search", after=at) - 40)
        terminal.enter("Hang!")
        at = terminal.until("tok take", after=at)
        terminal.interrupt()
        at = terminal.until("cancelled; this turn is forgotten", after=at)
        gate.open.set()
        at = terminal.until("> ", after=at)
        terminal.enter("/strategy guess")
        at = terminal.until("mull: unknown strategy guess", after=at)
        # At the prompt an interrupt ends nothing. Sent in the moment before it waits, it is noticed late.
        while "/quit or Ctrl-D ends" not in terminal.text:
            assert terminal.process.poll() is None, terminal.text
            terminal.interrupt()
            terminal.interrupt()
            terminal.read(0.02)
        terminal.enter("")  # the other interrupt, if noticed late, takes this line with it
        terminal.enter("/strategy none")
        terminal.enter("Are you sure?")
        terminal.until("single · answer ", after=at)
        terminal.enter("/quit")
        assert terminal.end() == 0
    assert "Traceback" not in terminal.text
    # What the last turn saw: the first one, and nothing of the one that was cancelled.
    seen = [[m["content"] for m in chat.messages if m["role"] == "user"] for chat in chats]
    assert [turn for turn, _ in groupby(seen)] == [
        ["How many?"],
        ["How many?", "Hang!"],
        ["How many?", "Are you sure?"],
    ]
