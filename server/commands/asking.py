"""`mull ask` and `mull chat`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from mull.server.commands.common import (
    LOCAL,
    BudgetSamples,
    BudgetSeconds,
    BudgetTokens,
    Key,
    Live,
    MaxTokens,
    Model,
    Param,
    Strategy,
    Temperature,
    Url,
    Verifier,
    errors,
    given,
    in_one_line,
    parameters,
    print_json,
)
from mull.server.exits import Failure


def ask(
    question: Annotated[
        str, typer.Argument(metavar="QUESTION", help="The question; - reads it from standard input.")
    ],
    strategy: Strategy = None,
    param: Param = None,
    verifier: Verifier = None,
    budget_tokens: BudgetTokens = None,
    budget_seconds: BudgetSeconds = None,
    budget_samples: BudgetSamples = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    tree: Annotated[bool, typer.Option("--tree", help="Show the whole search and the votes.")] = False,
    live: Live = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's whole answer as JSON.")] = False,
    url: Url = LOCAL,
    model: Model = None,
    api_key: Key = None,
) -> None:
    """Ask a running server and print the answer; the search and what it cost go to standard error."""
    from mull.server.ask.client import Client
    from mull.server.ask.solve import print_answer, print_cost, print_tree, solve

    text = sys.stdin.read() if question == "-" else question
    ttc = {
        **parameters(param),
        **given(strategy=strategy, verifier=verifier),
        **given(budget=given(tokens=budget_tokens, seconds=budget_seconds, samples=budget_samples)),
        **given(include=["candidates", "trace"] if tree else []),
    }
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": text}],
        **given(temperature=temperature, max_tokens=max_tokens, seed=seed),
        "ttc": ttc,
    }
    console = errors()
    if as_json and live is None:
        live = False  # what is printed is then exactly what the server sent
    with in_one_line():
        client = Client(url=url, api_key=api_key)
        completion = solve(client, {"model": model or client.models()[0], **body}, console, live=live)
        if as_json:
            print_json(completion)
            return
        if tree and "trace" not in completion.get("ttc", {}):
            raise Failure(f"the server at {url} sends no search to show; is it mull?")
    if tree:
        print_tree(completion["ttc"])
    print_answer(completion)
    print_cost(completion, console)


def chat(
    strategy: Strategy = None,
    param: Param = None,
    verifier: Verifier = None,
    budget_tokens: BudgetTokens = None,
    budget_seconds: BudgetSeconds = None,
    budget_samples: BudgetSamples = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    live: Live = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each answer of the server as one line of JSON.")
    ] = False,
    url: Url = LOCAL,
    model: Model = None,
    api_key: Key = None,
) -> None:
    """Talk to a running server. Lines of a file or pipe are asked one after the other."""
    from mull.server.ask.chat import Chat
    from mull.server.ask.client import Client

    with in_one_line():
        client = Client(url=url, api_key=api_key)
        talk = Chat(
            client=client,
            model=model or client.models()[0],
            fields=given(temperature=temperature, max_tokens=max_tokens),
            ttc={**parameters(param), **given(strategy=strategy, verifier=verifier)},
            budget=given(tokens=budget_tokens, seconds=budget_seconds, samples=budget_samples),
            system=system,
            live=live,
            as_json=as_json,
            console=errors(),
        )
        if sys.stdin.isatty():
            talk.converse()
        else:
            for line in sys.stdin:
                talk.hear(line.rstrip("\n"))
