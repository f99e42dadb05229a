"""The least of an API client: blocking calls with the standard library, for a quick start."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mull.server.exits import NO_SERVER, Failure, no_server


@dataclass(frozen=True, kw_only=True)
class Client:
    """A server's API.

    Raises (every method):
        Failure: nobody answers, or the server refuses; the message is the server's own.
    """

    url: str
    """With the version: `http://127.0.0.1:8000/v1`."""
    api_key: str | None = None
    timeout: float = 600.0
    """Seconds without a sign of the server after which it counts as gone."""

    def models(self) -> list[str]:
        """Names of the served models, the default first."""
        return [str(card["id"]) for card in self.get("/models")["data"]]

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion. Interrupting the call cancels the search."""
        return self._json("/chat/completions", body)

    def stream(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The chunks of a chat completion. Closing the generator cancels the search."""
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        with self._answer("/chat/completions", asked) as response:
            for line in response:
                # Comments only say that the server lives.
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                chunk = json.loads(data)
                if error := chunk.get("error"):
                    raise Failure(f"the server stopped: {error.get('message', error)}")
                yield chunk
        raise Failure(f"{self.url} ended the answer before it was whole; ask again")

    def get(self, path: str) -> dict[str, Any]:
        """What there is under a path."""
        return self._json(path)

    def text(self, path: str) -> str:
        """What there is under a path beside the API's: `/metrics`."""
        with self._answer(path, root=True) as response:
            return str(response.read().decode())

    def _json(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with self._answer(path, body) as response:
            answer = json.load(response)
        if not isinstance(answer, dict):
            raise Failure(f"{self._at(path)} answered no JSON object; is its URL right? It ends in /v1")
        return answer

    @contextmanager
    def _answer(self, path: str, body: dict[str, Any] | None = None, *, root: bool = False) -> Iterator[Any]:
        url = self._at(path, root=root)
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            request = urllib.request.Request(
                url, json.dumps(body).encode() if body is not None else None, headers
            )
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                yield response
        except urllib.error.HTTPError as error:
            raise _refusal(error, self.url) from None
        except urllib.error.URLError as error:
            raise no_server(self.url, _reason(error.reason)) from None
        except (http.client.HTTPException, OSError) as error:
            raise no_server(self.url, _reason(error)) from None
        except ValueError as error:
            raise Failure(f"{url}: {error}; is this an OpenAI-compatible API? Its URL ends in /v1") from None

    def _at(self, path: str, *, root: bool = False) -> str:
        base = self.url.rstrip("/")
        return (base.removesuffix("/v1") if root else base) + path


def _refusal(error: urllib.error.HTTPError, url: str) -> Failure:
    """What the server says is wrong; OpenAI's error object where it sent one."""
    with error:
        text = error.read().decode(errors="replace")
    try:
        problem = json.loads(text)["error"]
        message, code = str(problem["message"]), problem.get("code")
    except (ValueError, LookupError, TypeError, AttributeError):
        message, code = f"{url} answered {error.code} {error.reason}; its URL ends in /v1", None
    if code == "not_ready":
        return Failure(f"the server at {url} is not ready: {message}; try again in a moment", NO_SERVER)
    if error.code == 401:
        message += " (give it with --api-key or in MULL_API_KEY)"
    return Failure(message)


def _reason(error: object) -> str:
    """The cause without its number: `connection refused`."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).lower()
