"""The least of an API client: blocking calls with the standard library, for a quick start."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
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
        return [str(card["id"]) for card in self._call("/models")["data"]]

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion. Interrupting the call cancels the search."""
        return self._call("/chat/completions", body)

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        url = self.url.rstrip("/") + path
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            request = urllib.request.Request(
                url, json.dumps(body).encode() if body is not None else None, headers
            )
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise _refusal(error, self.url) from None
        except urllib.error.URLError as error:
            raise no_server(self.url, _reason(error.reason)) from None
        except (http.client.HTTPException, OSError) as error:
            raise no_server(self.url, _reason(error)) from None
        except ValueError as error:
            raise Failure(f"{url}: {error}; is this an OpenAI-compatible API? Its URL ends in /v1") from None
        if not isinstance(answer, dict):
            raise Failure(
                f"{url} answered something that is no JSON object; is its URL right? It ends in /v1"
            )
        return answer


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
