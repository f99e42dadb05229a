"""`mull top`, the lists, and what the shell completes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from openai import OpenAI
from rich.console import Console
from typer.testing import CliRunner, Result

from mull.server.ask.client import Client
from mull.server.cli import app
from mull.server.top.picture import Picture, look
from mull.server.top.show import show
from mull.testing import ScriptedGenerator

from .conftest import WORLD, Gate, Served, Start, serving, started
from .terminal import Terminal

Mull = Callable[..., Result]


def test_models(shared: Served, mull: Mull) -> None:
    assert mull("models", "--url", shared.url).stdout == "scripted\n"
    everything = mull("models", "--all", "--url", shared.url).stdout.splitlines()
    assert "scripted+beam_search" in everything
    listed = json.loads(mull("models", "--json", "--url", shared.url).stdout)
    assert [card["id"] for card in listed["data"]] == ["scripted"]


def test_strategies(shared: Served, mull: Mull) -> None:
    listed = json.loads(mull("strategies", "--json", "--url", shared.url).stdout)
    names = [card["name"] for card in listed["data"]]
    assert "beam_search" in names
    head, *rows = mull("strategies", "--url", shared.url).stdout.splitlines()
    assert head.split("\t") == ["strategy", "needs", "generations", "what it does"]
    assert [row.split("\t")[0] for row in rows] == names
    (beam,) = [row.split("\t") for row in rows if row.startswith("beam_search")]
    assert beam[1] == "process verifier, continues"
    with Terminal("strategies", "--url", shared.url) as terminal:
        assert terminal.end() == 0
    assert "process verifier" in terminal.text
    assert max(map(len, terminal.text.splitlines())) <= 100


def test_verifiers(shared: Served, start: Start, mull: Mull) -> None:
    rows = mull("verifiers", "--url", shared.url).stdout.splitlines()[1:]
    assert [row.split("\t")[:3] for row in rows] == [
        ["orm", "outcome", "answers"],
        ["prm", "process", "answers"],
    ]
    with start(down=True) as served:
        listed = json.loads(mull("verifiers", "--json", "--url", served.url).stdout)
        assert {row["name"] for row in listed["data"]} == {"orm", "prm"}


@pytest.mark.parametrize("command", ["models", "strategies", "verifiers", "top", "chat"])
def test_no_server_is_one_line(mull: Mull, command: str) -> None:
    result = mull(command, "--url", "http://127.0.0.1:1/v1")
    assert result.exit_code == 3
    assert result.stderr.strip().count("\n") == 0
    assert "start one with `mull serve`" in result.stderr


@contextmanager
def asking(served: Served) -> Iterator[None]:
    """A beam search with a budget runs meanwhile."""

    def ask() -> None:
        with OpenAI(base_url=served.url, api_key="none", max_retries=0) as client:
            client.chat.completions.create(
                model="scripted",
                messages=[{"role": "user", "content": "How many?"}],
                extra_body={"ttc": {"strategy": "beam_search", "budget": {"tokens": 900}}},
            )

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        assert isinstance(served.model._pause, Gate)
        served.model._pause.open.set()
        thread.join()


def running(served: Served) -> list[dict[str, Any]]:
    """The requests that run, once there are some."""
    client = Client(url=served.url)
    while not (rows := client.get("/ttc/running")["data"]) or not rows[0]["tokens"]:
        pass
    found: list[dict[str, Any]] = rows
    return found


def test_top_once(start: Start, mull: Mull) -> None:
    with start(model=ScriptedGenerator(WORLD, pause=Gate(20))) as served, asking(served):
        running(served)
        options = ("top", "--once", "--interval", 0.05, "--url", served.url)
        picture = json.loads(mull(*options, "--json").stdout)
        text = mull(*options).stdout
    (row,) = picture["running"]
    assert picture["ready"] is True
    assert row["strategy"] == "beam_search"
    assert row["budget"]["tokens"] == 900
    assert picture["engines"] == {"scripted": {"requests": 1}}
    assert [v["name"] for v in picture["verifiers"]] == ["orm", "prm"]
    assert picture["generated"] == row["tokens"] > 0
    assert picture["tokens_per_second"] == 0
    assert "1 running" in text
    assert f"{row['tokens']}/900" in text
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("prm")] == [
        ["prm", "process", "answers"]
    ]


def test_top_on_a_terminal_goes_on_until_interrupted(start: Start) -> None:
    with (
        start(model=ScriptedGenerator(WORLD, pause=Gate(20))) as served,
        Terminal("top", "--interval", 0.05, "--url", served.url) as terminal,
    ):
        at = terminal.until("0 running")
        with asking(served):
            at = terminal.until("beam_search", after=terminal.until("1 running", after=at))
        terminal.until("1 × 200", after=at)
        terminal.interrupt()
        assert terminal.end() == 0
    assert "Traceback" not in terminal.text


def test_top_writes_a_line_of_json_a_picture(shared: Served) -> None:
    options = ("top", "--json", "--interval", 0.05, "--url", shared.url)
    with Terminal(*options, pipe=True) as terminal:
        assert terminal.process.stdout is not None
        first, second = (json.loads(terminal.process.stdout.readline()) for _ in range(2))
        terminal.interrupt()
        assert terminal.end() == 0
    assert second["at"] > first["at"]
    assert second["tokens_per_second"] is not None


def test_top_shows_what_is_not_ready(mull: Mull) -> None:
    starting = FastAPI()
    starting.get("/metrics")(lambda: PlainTextResponse(""))

    @starting.get("/ready")
    def ready() -> Any:
        return JSONResponse({"error": {"message": "still starting: prm", "code": "not_ready"}}, 503)

    with serving(starting) as url:
        picture = json.loads(mull("top", "--once", "--interval", 0.05, "--json", "--url", url).stdout)
        text = mull("top", "--once", "--interval", 0.05, "--url", url).stdout
    assert picture["ready"] is False
    assert "still starting: prm" in picture["problem"]
    assert "still starting: prm" in " ".join(text.split())


def test_top_goes_on_when_the_server_is_gone_for_a_while() -> None:
    with ExitStack() as stack:
        with started() as served:
            options = ("top", "--interval", 0.05, "--url", served.url)
            terminal = stack.enter_context(Terminal(*options))
            at = terminal.until("0 running")
        terminal.until("no server answers", after=at)
        terminal.interrupt()
        assert terminal.end() == 0


def test_engines_in_the_servers_process_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = "\n".join(
        [
            'vllm:num_requests_running{engine="0",model_name="m"} 3.0',
            'vllm:num_requests_waiting{engine="0",model_name="m"} 5.0',
            'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25',
            "# TYPE vllm:generation_tokens counter",
            'vllm:generation_tokens_total{engine="0",model_name="m"} 700.0',
            "# TYPE mull_requests counter",
            'mull_requests_total{model="m",strategy="single",status="200"} 4.0',
            'mull_requests_total{model="m",strategy="dvts",status="200"} 2.0',
            'mull_running{model="m"} 1.0',
        ]
    )
    monkeypatch.setattr(Client, "text", lambda self, path: metrics + "\n")
    monkeypatch.setattr(Client, "get", lambda self, path: {"data": []})
    client = Client(url="http://there/v1")
    before = Picture(at=0.0, ready=True, generated=100)
    picture = look(client, client, before)
    assert picture.engines == {"m": {"requests": 1, "running": 3, "waiting": 5, "cache": 0.25}}
    assert picture.generated == 700
    assert picture.tokens_per_second == pytest.approx(600 / picture.at)
    assert picture.finished == {"200": 6}
    assert ["m", "1", "3", "5", "25", "%"] in [line.split() for line in drawn(picture).splitlines()]


def drawn(picture: Picture) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(show(picture, "http://there/v1"))
    return captured.get()


def test_what_a_server_says_is_no_control() -> None:
    row = {"name": "[b]v[/b]\x1b[2J", "kind": "process", "healthy": True, "version": None}
    text = drawn(Picture(at=0.0, ready=True, verifiers=[row]))
    assert "[b]v[/b]\\x1b[2J" in text


def completed(line: str, **variables: str) -> list[str]:
    """What bash would offer at the end of a line."""
    words = line.split(" ")
    asked = {"_MULL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(app, [], prog_name="mull", env=asked | variables)
    return result.stdout.split()


def test_the_shell_completes_commands_strategies_and_the_servers_names(shared: Served) -> None:
    assert completed("mull ver") == ["verifier", "verifiers"]
    assert completed("mull ask x --strategy beam") == ["beam_search"]
    assert completed("mull ask x --verifier p", MULL_URL=shared.url) == ["prm"]
    assert completed(f"mull ask x --url {shared.url} --model scripted+best_of") == ["scripted+best_of_n"]
    assert completed("mull chat --model scr", MULL_URL=shared.url) == ["scripted"]


def test_completion_without_a_server_offers_nothing() -> None:
    assert completed("mull ask x --verifier p", MULL_URL="http://127.0.0.1:1/v1") == []


def test_the_completion_script_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    # Which shell is used is otherwise found out from the processes above, among which there may be none.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="mull")
    assert "_MULL_COMPLETE=complete_bash" in result.stdout
