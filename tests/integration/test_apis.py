"""Each of the other APIs once, on real vLLM with the bundled models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Server

pytestmark = pytest.mark.slow

BEST = {"strategy": "best_of_n", "n": 4}


def rendered(server: Server, ask: Any) -> str:
    """A conversation as the model's template writes it."""
    tokens = server.http.post("/tokenize", json={"model": "mull-tiny", "messages": ask}).json()["tokens"]
    text: str = server.http.post("/detokenize", json={"model": "mull-tiny", "tokens": tokens}).json()[
        "prompt"
    ]
    return text


def test_tokens_and_text(server: Server, ask: Any) -> None:
    found = server.http.post("/tokenize", json={"prompt": "6 coins", "add_special_tokens": False}).json()
    assert found["count"] == len(found["tokens"]) > 0
    assert found["max_model_len"] >= found["count"]
    back = server.http.post("/detokenize", json={"tokens": found["tokens"]}).json()
    assert back["prompt"] == "6 coins"
    assert ask[0]["content"] in rendered(server, ask)


def test_what_cannot_fit_is_refused_without_being_tokenized(server: Server) -> None:
    # Four megabytes would take vLLM's one thread for tokens the better part of a minute.
    huge = "six coins " * 390_000
    asked: dict[str, dict[str, Any]] = {
        "/v1/completions": {"prompt": huge},
        "/v1/chat/completions": {"messages": [user(huge)]},
    }
    for path, body in asked.items():
        found = server.http.post(path, json={"model": "mull-tiny", **body}, timeout=120).json()["error"]
        assert found["code"] == "context_length_exceeded"
        assert "at least" in found["message"]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_completions_go_on_with_the_prompt_as_it_is(server: Server, ask: Any) -> None:
    prompt = rendered(server, ask)
    chat = server.client.chat.completions.create(
        model="mull-tiny", messages=ask, temperature=0, max_tokens=150
    )
    done: Any = server.client.completions.create(
        model="mull-tiny",
        prompt=prompt,
        temperature=0,
        max_tokens=150,
        logprobs=2,
        extra_body={"add_special_tokens": False},
    )
    # The same tokens, whoever applied the template.
    assert done.choices[0].text == chat.choices[0].message.content
    assert done.usage.prompt_tokens == chat.usage.prompt_tokens  # type: ignore[union-attr]
    logprobs = done.choices[0].logprobs
    assert "".join(logprobs.tokens).startswith(done.choices[0].text)
    assert all(len(top) in (2, 3) for top in logprobs.top_logprobs)

    tokens = server.http.post("/tokenize", json={"model": "mull-tiny", "messages": ask}).json()["tokens"]
    several: Any = server.client.completions.create(
        model="mull-tiny", prompt=[tokens, tokens], max_tokens=150, extra_body={"ttc": BEST}
    )
    assert [choice.index for choice in several.choices] == [0, 1]
    assert [ttc["strategy"] for ttc in several.ttc] == ["best_of_n"] * 2
    pieces = server.client.completions.create(
        model="mull-tiny", prompt=[prompt, "6"], max_tokens=20, temperature=0, stream=True, echo=True
    )
    texts = {0: "", 1: ""}
    for chunk in pieces:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts[0].startswith(prompt)
    assert texts[1].startswith("6")


def test_wrong_tokens_are_refused_and_the_engine_lives(server: Server) -> None:
    for path, body, param in (
        ("/v1/completions", {"prompt": [2**31 - 1]}, "prompt"),
        ("/v1/completions", {"prompt": "", "add_special_tokens": False}, "prompt"),
        ("/detokenize", {"tokens": [2**31 - 1]}, "tokens"),
    ):
        reply = server.http.post(path, json={"model": "mull-tiny", **body})
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param
    assert server.http.get("/ready").status_code == 200


def test_responses_whole_and_streamed(server: Server, ask: Any) -> None:
    client = server.client
    one: Any = client.responses.create(model="mull-tiny", input=ask, extra_body={"ttc": BEST})
    assert one.status == "completed"
    assert one.ttc["verifier"] == "solver"
    assert one.usage.output_tokens_details.reasoning_tokens > 0
    with client.responses.stream(
        model="mull-tiny", input=ask[0]["content"], previous_response_id=one.id, max_output_tokens=150
    ) as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert client.responses.retrieve(one.id).output_text == one.output_text


def test_messages_whole_and_streamed(server: Server, ask: Any) -> None:
    body = {"model": "mull-tiny", "max_tokens": 150, "messages": ask, "ttc": BEST}
    done = server.http.post("/v1/messages", json=body).json()
    assert done["stop_reason"] == "end_turn"
    assert done["content"][0]["text"]
    counted = server.http.post("/v1/messages/count_tokens", json={"model": "mull-tiny", "messages": ask})
    plain = server.http.post("/v1/messages", json={**body, "ttc": {"strategy": "single"}}).json()["usage"]
    assert counted.json()["input_tokens"] == plain["input_tokens"] + plain["cache_read_input_tokens"]
    text = server.http.post("/v1/messages", json={**body, "stream": True}).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert events[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("verifier", ["solver", "prm", "worker"])
def test_verifiers_score_and_rank(server: Server, ask: Any, verifier: str) -> None:
    reply: Any = server.client.chat.completions.create(
        model="mull-tiny", messages=ask, n=3, extra_body={"ttc": {**BEST, "include": ["candidates"]}}
    )
    texts = [candidate["text"] for candidate in reply.ttc["candidates"]]
    body = {"model": verifier, "messages": ask, "candidates": [*texts, "I do not know."]}
    found = server.http.post("/v1/score", json=body).json()
    scores = [row["score"] for row in found["data"]]
    assert len(scores) == len(texts) + 1
    assert all(0 <= score <= 1 for score in scores)
    if verifier == "solver":
        told = [candidate["score"] for candidate in reply.ttc["candidates"]]
        assert scores[:-1] == pytest.approx(told, abs=1e-3)
        assert len(found["data"][0]["steps"]) == texts[0].strip().count("\n") + 1
    ranking = {"model": verifier, "query": ask[0]["content"], "documents": body["candidates"]}
    ranked = server.http.post("/v1/rerank", json=ranking).json()["results"]
    assert [row["relevance_score"] for row in ranked] == sorted(
        (pytest.approx(score, abs=1e-3) for score in scores), key=lambda s: -s.expected
    )
