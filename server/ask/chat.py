"""`mull chat`: a conversation, turn by turn."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from mull.server.ask import show
from mull.server.ask.client import Client
from mull.server.ask.solve import print_answer, print_cost, solve
from mull.server.assignments import assignment
from mull.server.commands.common import print_json
from mull.server.exits import Failure

HELP = """\
/strategy NAME [PARAMETER=VALUE ...]  how to think from now on; none: the server's default
/verifier NAME                        which verifier judges; none: the server's default
/budget [tokens=N] [seconds=S] [samples=N]   what a turn may spend; a number alone is tokens; none: no limit
/reset                                forget the conversation
/help                                 this list
/quit                                 end, as does Ctrl-D
Ctrl-C cancels the search that runs. A message that begins with a slash is written with two.\
"""
LIMITS = ("tokens", "seconds", "samples")


@dataclass(kw_only=True)
class Chat:
    """One conversation.

    Raises (methods):
        Failure: a line cannot be answered, or is a wrong command; the conversation can go on.
    """

    client: Client
    model: str
    fields: dict[str, Any]
    """Sampling fields of every turn."""
    ttc: dict[str, Any]
    budget: dict[str, Any]
    system: str | None
    live: bool | None
    as_json: bool
    console: Console
    """Where everything but the answers is written."""
    history: list[dict[str, str]] = field(default_factory=list)
    ended: bool = False
    _heeds: bool = False
    """Whether Ctrl-C is heeded now."""

    def converse(self) -> None:
        """Read lines from a terminal and answer them until the user ends it; Ctrl-C never does."""
        with suppress(ImportError):
            import readline  # noqa: F401 (gives input() editing and a history)

        self._say(f"{self.model} at {self.client.url}; /help lists the commands")
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            while not self.ended:
                try:
                    self._hear_next()
                except KeyboardInterrupt:
                    self._say("\n/quit or Ctrl-D ends")
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_: object) -> None:
        if self._heeds:
            self._heeds = False
            raise KeyboardInterrupt

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Heed one Ctrl-C meanwhile. Elsewhere it passes: what tells of one is not broken off by the next."""
        self._heeds = True
        try:
            yield
        finally:
            self._heeds = False

    def _hear_next(self) -> None:
        try:
            with self._interruptible():
                line = input("> ")
        except EOFError:
            self._say("")
            self.ended = True
            return
        try:
            with self._interruptible():
                self.hear(line)
        except KeyboardInterrupt:
            self._say("cancelled; this turn is forgotten")
        except Failure as failure:
            self._say(f"mull: {failure.message}")

    def hear(self, line: str) -> None:
        """Do what a line says: a command, a message, or nothing."""
        line = line.strip()
        if self.ended or not line:
            return
        if line.startswith("/") and not line.startswith("//"):
            self._command(line)
        else:
            self._turn(line[1:] if line.startswith("//") else line)

    def _turn(self, text: str) -> None:
        asked = [*self.history, {"role": "user", "content": text}]
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        ttc = {**self.ttc, **({"budget": self.budget} if self.budget else {})}
        body = {"model": self.model, "messages": [*system, *asked], **self.fields, "ttc": ttc}
        live = False if self.as_json and self.live is None else self.live
        completion = solve(self.client, body, self.console, live=live)
        answer = completion["choices"][0]["message"].get("content") or ""
        self.history = [*asked, {"role": "assistant", "content": answer}]
        if self.as_json:
            print_json(completion, line=True)
            sys.stdout.flush()
        else:
            print_answer(completion)
            print_cost(completion, self.console)

    def _command(self, line: str) -> None:
        name, *words = line[1:].split()
        match name:
            case "strategy":
                self._strategy(words)
            case "verifier":
                self._verifier(words)
            case "budget":
                self._budget(words)
            case "reset":
                self.history = []
                self._say("the conversation is forgotten")
            case "help":
                self._say(HELP)
            case "quit" | "exit":
                self.ended = True
            case _:
                raise Failure(f"unknown command /{name}; /help lists them")

    def _strategy(self, words: list[str]) -> None:
        if words:
            name, *given = words
            known = [card["name"] for card in self.client.get("/ttc/strategies")["data"]]
            if name not in (*known, "none"):
                raise Failure(f"unknown strategy {name}; the server has {', '.join(known)}")
            verifier = {k: v for k, v in self.ttc.items() if k == "verifier"}
            chosen = {} if name == "none" else {"strategy": name, **_assignments(given)}
            self.ttc = chosen | verifier
        parameters = {k: v for k, v in self.ttc.items() if k not in ("strategy", "verifier")}
        told = "".join(f" {k}={v}" for k, v in parameters.items())
        self._say(f"strategy: {self.ttc.get('strategy', 'as the server chooses')}{told}")

    def _verifier(self, words: list[str]) -> None:
        if words:
            known = [row["name"] for row in self.client.get("/ttc/verifiers")["data"]]
            if words[0] not in (*known, "none"):
                raise Failure(f"unknown verifier {words[0]}; the server has {', '.join(known) or 'none'}")
            self.ttc.pop("verifier", None)
            self.ttc |= {} if words[0] == "none" else {"verifier": words[0]}
        self._say(f"verifier: {self.ttc.get('verifier', 'as the server chooses')}")

    def _budget(self, words: list[str]) -> None:
        if words:
            plain = len(words) == 1 and words[0].isdecimal()
            given = {"tokens": int(words[0])} if plain else {} if words == ["none"] else _assignments(words)
            for name, value in given.items():
                if name not in LIMITS or isinstance(value, bool) or not isinstance(value, int | float):
                    raise Failure(f"a budget has {', '.join(LIMITS)}, each a number, not {name}={value}")
            self.budget = given
        told = ", ".join(f"{value:g} {name}" for name, value in self.budget.items())
        self._say(f"budget: {told or 'no limit'}")

    def _say(self, text: str) -> None:
        self.console.print(Text(show.printable(text), style="dim"), soft_wrap=True)


def _assignments(words: list[str]) -> dict[str, Any]:
    try:
        return dict(assignment(word) for word in words)
    except ValueError as error:
        raise Failure(str(error)) from None
