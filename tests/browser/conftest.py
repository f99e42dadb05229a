"""A headless browser, and a real server over a scripted world for the page to talk to."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import uvicorn

from mull.server.app import create_app
from mull.server.settings import load
from mull.testing import ScriptedGenerator, ScriptedVerifier, World
from mull.testing.world import Script

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

ARTEFACTS = Path(__file__).parent / "artefacts"
"""Where screenshots are left, to be looked at."""

WORLD = World(depth=4, branches=3, skill=0.6)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser takes its time, more so on a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))


class Held(ScriptedGenerator):
    """An engine that a test can hold from outside."""

    def __init__(self, script: Script) -> None:
        super().__init__(script, pause=self._wait)
        self.free = threading.Event()
        """Cleared: generations wait."""
        self.free.set()
        self.hold_at = 0
        """The turn at which `free` is cleared; 0 for none."""
        self.turns = 0

    async def _wait(self) -> None:
        self.turns += 1
        if self.turns == self.hold_at:
            self.free.clear()
        await asyncio.sleep(0)
        while not self.free.is_set():  # noqa: ASYNC110 (set from another thread)
            await asyncio.sleep(0.005)


@dataclass
class Served:
    """A running server and its model."""

    url: str
    model: Held


Serve = Callable[..., AbstractContextManager[Served]]


@contextmanager
def served_world(script: Script = WORLD, **settings: Any) -> Iterator[Served]:
    model = Held(script)
    verifiers: Mapping[str, ScriptedVerifier] = {
        "orm": ScriptedVerifier.perfect(WORLD, name="orm", kind="outcome"),
        "prm": ScriptedVerifier.perfect(WORLD, name="prm", kind="process"),
    }
    app = create_app(load(None, **settings), generators={model.model: model}, verifiers=verifiers)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, ws="none", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    with urlopen(f"{url}/ready"):
        pass
    try:
        yield Served(url, model)
    finally:
        model.free.set()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def serve() -> Serve:
    """Start a server of one's own: `with serve(script, api_keys=["k"]) as served`."""
    return served_world


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """One server that the tests of a module share; they leave it as they find it."""
    with served_world() as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; one a module, because an open one would be in the way of asyncio tests."""
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("THERE IS NO CHROMIUM: the page is not being tested (apt-get install chromium)")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)

    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the page: `visit(url, "#question=...", refusals=True, color_scheme="dark")`.

    When the test is over, none of its pages may have had an error, broken its own rules (the Content Security
    Policy says so on the console) or asked another server for anything. With `refusals`, ours may refuse.
    """
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    def open_page(
        url: str, fragment: str = "", *, refusals: bool = False, ready: bool = True, **options: Any
    ) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1360, "height": 900}} | options))
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()

        def heard(kind: str, text: str) -> None:
            # Servers of single tests are gone before their pages are closed.
            gone = "ERR_CONNECTION_REFUSED" in text
            refused = refusals and text.startswith("Failed to load resource")
            if kind in ("error", "warning") and not gone and not refused:
                problems.append(f"console {kind}: {text}")

        def asked(address: str) -> None:
            if not address.startswith((url, "data:", "blob:")):
                problems.append(f"foreign request: {address}")

        page.on("console", lambda message: heard(message.type, message.text))
        page.on("pageerror", lambda error: problems.append(f"error: {error.stack or error}"))
        page.on("request", lambda request: asked(request.url))
        page.goto(f"{url}/ui/{fragment}")
        if ready:
            page.locator("#question").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def sent() -> Callable[[Page], list[Any]]:
    """Collects the bodies of what a page asks for from now on."""

    def collect(page: Page) -> list[Any]:
        bodies: list[Any] = []

        def note(asked: Request) -> None:
            if asked.method == "POST":
                bodies.append(asked.post_data_json)

        page.on("request", note)
        return bodies

    return collect


@pytest.fixture(scope="session")
def artefact() -> Callable[[str], Path]:
    """Where a screenshot of this name is kept."""
    ARTEFACTS.mkdir(exist_ok=True)
    return lambda name: ARTEFACTS / f"{name}.png"
