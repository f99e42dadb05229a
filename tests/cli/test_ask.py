from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from rich.console import Console
from typer.testing import CliRunner, Result

from mull.server.ask import show
from mull.server.cli import app

from .conftest import Served, Start, serving

Mull = Callable[..., Result]


def test_prints_the_answer_alone_on_standard_output(shared: Served, mull: Mull) -> None:
    result = mull("ask", "How many?", "--temperature", 0, "--url", shared.url)
    assert result.exit_code == 0, result.output
    assert result.stdout == "take 1\ntake 1\ntake 1\n\\boxed{111}\n"
    assert "single · answer 111 · " in result.stderr
    assert " tokens generated · 1 engine call · " in result.stderr


def test_sends_strategy_parameters_and_budget(shared: Served, mull: Mull) -> None:
    result = mull(
        *(
            "ask",
            "How many?",
            "--strategy",
            "beam_search",
            "--param",
            "width=2",
            "--param",
            'delimiter="\\n"',
        ),
        *("--verifier", "prm", "--budget-tokens", 900, "--budget-seconds", 30, "--budget-samples", 40),
        *("--seed", 5, "--max-tokens", 100, "--json", "--url", shared.url),
    )
    assert result.exit_code == 0, result.output
    ttc = json.loads(result.stdout)["ttc"]
    assert ttc["strategy"] == "beam_search"
    assert ttc["parameters"]["width"] == 2
    assert ttc["parameters"]["delimiter"] == "\n"
    assert ttc["budget"] == {"tokens": 900, "seconds": 30, "samples": 40}


def test_reads_the_question_from_standard_input(shared: Served) -> None:
    asked = ["ask", "-", "--temperature", "0", "--json", "--url", shared.url]
    short = CliRunner().invoke(app, asked, input="How many?\n")
    long = CliRunner().invoke(app, asked, input="How many are there in all?\n")
    spent = [json.loads(result.stdout)["usage"]["prompt_tokens"] for result in (short, long)]
    assert spent[1] - spent[0] == len(" are there in all")


def test_tree_shows_scores_tokens_and_what_was_given_up(shared: Served, mull: Mull) -> None:
    result = mull(
        *("ask", "How many?", "--strategy", "beam_search", "--param", "width=1", "--param", "expand=8"),
        *("--seed", 1, "--tree", "--url", shared.url),
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "beam_search"
    assert any(line.endswith("1.00   7 tok take 1") for line in lines)
    assert any(line.endswith("0.00   7 tok pruned take 2") for line in lines)
    assert [line for line in lines if line.endswith("\\boxed{111} ← answer")]
    assert lines[-1] == "\\boxed{111}"


def test_api_key_comes_from_the_environment(
    start: Start, mull: Mull, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(api_keys=["sesame"]) as served:
        without = mull("ask", "How many?", "--url", served.url)
        monkeypatch.setenv("MULL_API_KEY", "sesame")
        with_key = mull("ask", "How many?", "--temperature", 0, "--url", served.url)
    assert without.exit_code == 1
    assert "MULL_API_KEY" in without.stderr
    assert with_key.exit_code == 0, with_key.output


def test_no_server_is_one_line_with_the_remedy(mull: Mull) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        result = mull("ask", "How many?", "--url", url)
    assert result.exit_code == 3
    assert [line for line in result.stderr.splitlines() if line.strip()] == [
        f"mull: no server answers at {url} (connection refused); "
        "start one with `mull serve` or name another with --url"
    ]


def test_the_servers_refusal_is_passed_on(shared: Served, mull: Mull) -> None:
    result = mull("ask", "How many?", "--strategy", "best_of_n", "--param", "n=0", "--url", shared.url)
    assert result.exit_code == 1
    assert result.stderr.strip().startswith("mull: ttc.n must be an integer from 1 to 1024, not 0")


def test_a_server_that_still_starts_is_told_apart(mull: Mull) -> None:
    starting = FastAPI()

    @starting.get("/v1/models")
    def models() -> Any:
        return JSONResponse({"error": {"message": "still starting: prm", "code": "not_ready"}}, 503)

    with serving(starting) as url:
        result = mull("ask", "How many?", "--url", url)
    assert result.exit_code == 3
    assert "not ready: still starting: prm; try again" in result.stderr


def test_what_is_no_api_is_named(mull: Mull) -> None:
    page = FastAPI()
    page.get("/v1/models")(lambda: "hello")
    with serving(page) as url:
        wrong_path = mull("ask", "How many?", "--url", url.removesuffix("/v1"))
        no_object = mull("ask", "How many?", "--url", url)
    assert (wrong_path.exit_code, no_object.exit_code) == (1, 1)
    assert "its URL ends in /v1" in wrong_path.stderr
    assert "ends in /v1" in no_object.stderr


@pytest.mark.parametrize("text", ["width", "=4", "  =4"])
def test_a_malformed_parameter_is_wrong_usage(mull: Mull, text: str) -> None:
    result = mull("ask", "How many?", "--param", text)
    assert result.exit_code == 2
    assert "not of the form name=value" in result.stderr


def test_text_of_a_model_is_neither_markup_nor_control() -> None:
    assert show.printable("a\x1b[31mb\tc\nd\x07\u202e") == "a\\x1b[31mb\tc\nd\\x07\\u202e"
    common: dict[str, Any] = {"parent": 0, "finish": None, "score": None, "data": {}}
    nodes = [
        {**common, "id": 0, "parent": None, "kind": "root", "text": "", "tokens": 0},
        {
            **common,
            "id": 1,
            "kind": "sample",
            "text": "[b]x[/b] [/] \x1b]0;t\x07",
            "tokens": 3,
            "finish": "length",
        },
        {**common, "id": 2, "kind": "cancelled", "text": "", "tokens": 2, "data": {"visits": 3}},
    ]
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(show.tree(nodes, "best_of_n"))
    assert captured.get().splitlines() == [
        "best_of_n",
        "├──   3 tok cut off [b]x[/b] [/] \\x1b]0;t\\x07",
        "└──   2 tok cancelled visits=3 ",
    ]


def test_summary_tells_fallback_and_early_end() -> None:
    fallback = {"strategy": "majority_vote", "unavailable": "orm"}
    ttc = {
        "strategy": "best_of_n",
        "fallback": fallback,
        "stopped": "tokens",
        "answer": "4\x1b",
        "confidence": 0.5,
    }
    told = show.summary({"usage": {"completion_tokens": 12}, "ttc": {**ttc, "seconds": 1.234}})
    assert told == (
        "best_of_n · fell back to majority_vote: orm is down · answer 4\\x1b · confidence 0.50 · "
        "12 tokens generated · 1.23 s · stopped by tokens"
    )
