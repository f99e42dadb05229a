"""What each client makes of a stream that breaks off, or of a server that wants another key."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import litellm
from langchain_openai import ChatOpenAI
from openai import OpenAI

question = "What is one plus one?"
messages = [{"role": "user", "content": question}]


def openai(url: str, key: str) -> Iterator[Any]:
    client = OpenAI(base_url=url, api_key=key, max_retries=0)
    yield from client.chat.completions.create(model="mull-tiny", messages=messages, stream=True)


def langchain(url: str, key: str) -> Iterator[Any]:
    yield from ChatOpenAI(base_url=url, api_key=key, model="mull-tiny", max_retries=0).stream(question)


def lite(url: str, key: str) -> Iterator[Any]:
    ask = {"model": "openai/mull-tiny", "api_base": url, "api_key": key, "messages": messages}
    yield from litellm.completion(**ask, stream=True, max_retries=0)


def heard(client: Callable[[str, str], Iterator[Any]], url: str, key: str) -> dict[str, Any]:
    """How many pieces came, and the error that ended them."""
    pieces = 0
    try:
        for _ in client(url, key):
            pieces += 1
    except Exception as error:
        return {"pieces": pieces, "error": type(error).__name__, "message": str(error)}
    return {"pieces": pieces, "error": None}


breaking, guarded = sys.argv[1:]
for_all = {
    client.__name__: {
        "broken": heard(client, breaking, "none"),
        "wrong key": heard(client, guarded, "guessed"),
        "right key": heard(client, guarded, "secret"),
    }
    for client in (openai, langchain, lite)
}
print(json.dumps(for_all))
