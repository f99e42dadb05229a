"""POST /tokenize and POST /detokenize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

CHAT = [{"role": "user", "content": "hi"}]


def test_a_text_becomes_tokens_and_a_text_again(live: Live) -> None:
    found = live.http.post("/tokenize", json={"model": "mull-tiny", "prompt": "hi"}).json()
    assert found == {"count": 2, "max_model_len": 256, "tokens": [104, 105]}
    back = live.http.post("/detokenize", json={"model": "mull-tiny", "tokens": found["tokens"]})
    assert back.json() == {"prompt": "hi"}


def test_the_only_model_need_not_be_named(live: Live) -> None:
    assert live.http.post("/tokenize", json={"prompt": "hi"}).json()["count"] == 2
    assert live.http.post("/detokenize", json={"tokens": []}).json() == {"prompt": ""}


def test_an_alias_has_its_models_tokenizer(live: Live) -> None:
    body = {"model": "mull-tiny+best_of_n", "prompt": "hi"}
    assert live.http.post("/tokenize", json=body).json()["count"] == 2


def test_a_conversation_is_counted_as_the_engine_gets_it(live: Live) -> None:
    found = live.http.post("/tokenize", json={"model": "mull-tiny", "messages": CHAT}).json()
    done: Any = live.client.chat.completions.create(model="mull-tiny", messages=CHAT)  # type: ignore[arg-type]
    assert found["count"] == len(found["tokens"]) == done.usage.prompt_tokens


def test_an_engine_that_shows_no_tokens_says_so(start: Start, scripted: Any) -> None:
    with start(script=scripted(continues=False)) as live:
        for path, body in (
            ("/tokenize", {"prompt": "hi"}),
            ("/tokenize", {"messages": CHAT}),
            ("/detokenize", {"tokens": [1]}),
        ):
            reply = live.http.post(path, json=body)
            assert reply.status_code == 400, reply.text
            assert reply.json()["error"]["param"] == "model"
            assert reply.json()["error"]["code"] == "unsupported_value"


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("/tokenize", {}, "prompt", "either prompt or messages"),
        ("/tokenize", {"prompt": "a", "messages": CHAT}, "prompt", "either"),
        ("/tokenize", {"messages": CHAT, "add_special_tokens": True}, "add_special_tokens", "template"),
        ("/tokenize", {"messages": CHAT, "continue_final_message": True}, "continue_final_message", "false"),
        ("/tokenize", {"prompt": "a", "return_token_strs": True}, "return_token_strs", "False"),
        (
            "/tokenize",
            {"messages": CHAT, "chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
            "chat_template_kwargs.chat_template",
            "cannot be set",
        ),
        ("/tokenize", {"messages": [{"role": "user"}]}, "messages[0].content", "must be"),
        ("/tokenize", {"messages": CHAT, "tools": [{"a": 1}]}, "tools[0].type", "required"),
        ("/detokenize", {}, "tokens", "required"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]", "at least 0"),
        ("/detokenize", {"tokens": "hi"}, "tokens", "a list"),
    ],
)
def test_what_is_wrong_is_named(live: Live, path: str, body: dict[str, Any], param: str, says: str) -> None:
    reply = live.http.post(path, json=body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param
    assert says in reply.json()["error"]["message"]


def test_an_unknown_model_is_a_404(live: Live) -> None:
    assert live.http.post("/tokenize", json={"model": "gpt", "prompt": "a"}).status_code == 404


def test_a_key_is_needed_where_there_are_keys(start: Start) -> None:
    with start(api_keys=["sesame"]) as live:
        assert live.http.post("/tokenize", json={"prompt": "hi"}).status_code == 401
        headers = {"Authorization": "Bearer sesame"}
        assert live.http.post("/tokenize", json={"prompt": "hi"}, headers=headers).status_code == 200
