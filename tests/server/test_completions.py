"""The JSON answer, as the stock SDK sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Live, Start

ASK: Any = [{"role": "user", "content": "What is one plus one?"}]
BEST = "One and one\n\\boxed{2}"


def test_the_plain_answer_is_an_ordinary_completion(live: Live) -> None:
    done = live.client.chat.completions.create(model="mull-tiny", messages=ASK)
    assert done.object == "chat.completion"
    assert done.model == "mull-tiny"
    assert [c.message.content for c in done.choices] == [BEST]
    assert done.choices[0].message.role == "assistant"
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].logprobs is None
    assert done.model_extra is not None
    assert done.model_extra["ttc"]["strategy"] == "single"
    assert done.model_extra["ttc"]["answer"] == "2"
    assert "candidates" not in done.model_extra["ttc"]
    assert "trace" not in done.model_extra["ttc"]


async def test_the_asynchronous_sdk_works_too(live: Live) -> None:
    async with live.async_client() as client:
        done = await client.chat.completions.create(model="mull-tiny+best_of_n", messages=ASK)
    assert done.choices[0].message.content == BEST


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [
        ({"strategy": "majority_vote", "n": 5}, "3"),
        ({"strategy": "best_of_n", "n": 5}, "2"),
        ({"strategy": "weighted_best_of_n", "n": 5}, "2"),
        ({"strategy": "beam_search", "width": 2, "expand": 5}, "2"),
    ],
)
def test_strategies_choose_by_votes_and_scores(live: Live, strategy: dict[str, Any], answer: str) -> None:
    done = live.client.chat.completions.create(model="mull-tiny", messages=ASK, extra_body={"ttc": strategy})
    assert done.model_extra is not None
    ttc = done.model_extra["ttc"]
    assert ttc["answer"] == answer
    assert f"\\boxed{{{answer}}}" in (done.choices[0].message.content or "")
    assert ttc["strategy"] == strategy["strategy"]
    assert ttc["parameters"].items() >= {k: v for k, v in strategy.items() if k != "strategy"}.items()


def test_usage_counts_every_token_and_says_which_are_hidden(start: Start) -> None:
    with start() as live:
        done = live.client.chat.completions.create(
            model="mull-tiny", messages=ASK, extra_body={"ttc": {"strategy": "majority_vote", "n": 5}}
        )
        spent = live.script.usage
        shown = len(live.script.answers[1]) + 1  # the end of sequence is a token too
    usage = done.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens == spent.completion > shown
    assert usage.completion_tokens_details.reasoning_tokens == spent.completion - shown
    assert usage.prompt_tokens == spent.prompt > 0
    assert usage.prompt_tokens_details.cached_tokens == spent.cached > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_step_search_counts_the_prompt_of_each_call_and_shared_prefixes_once(live: Live) -> None:
    done = live.client.chat.completions.create(
        model="mull-tiny",
        messages=ASK,
        n=2,
        extra_body={"ttc": {"strategy": "beam_search", "include": ["trace"]}},
    )
    assert done.usage is not None
    assert done.usage.completion_tokens_details is not None
    assert done.model_extra is not None
    nodes = done.model_extra["ttc"]["trace"]
    assert done.usage.completion_tokens == sum(node["tokens"] for node in nodes)
    calls = done.model_extra["ttc"]["engine_calls"]
    assert calls > 2
    assert done.usage.prompt_tokens > calls * len(ASK[0]["content"])
    assert 0 < (done.usage.completion_tokens_details.reasoning_tokens or 0) < done.usage.completion_tokens


def test_n_returns_the_best_distinct_candidates(live: Live) -> None:
    done = live.client.chat.completions.create(
        model="mull-tiny",
        messages=ASK,
        n=5,
        extra_body={"ttc": {"strategy": "best_of_n", "n": 5, "include": ["candidates"]}},
    )
    texts = [c.message.content for c in done.choices]
    assert texts[0] == BEST
    assert len(texts) == len(set(texts)) == 4
    assert [c.index for c in done.choices] == [0, 1, 2, 3]
    assert done.model_extra is not None
    candidates = done.model_extra["ttc"]["candidates"]
    assert len(candidates) == 5
    assert [c["score"] for c in candidates] == sorted((c["score"] for c in candidates), reverse=True)


def test_what_is_cut_off_says_length(live: Live) -> None:
    done = live.client.chat.completions.create(model="mull-tiny", messages=ASK, max_tokens=11)
    assert done.choices[0].finish_reason == "length"
    assert done.choices[0].message.content == "One and one"
    assert done.model_extra is not None
    assert done.model_extra["ttc"]["answer"] is None


def test_a_spent_budget_returns_the_best_so_far_and_says_so(live: Live) -> None:
    done = live.client.chat.completions.create(
        model="mull-tiny",
        messages=ASK,
        max_tokens=30,
        extra_body={"ttc": {"strategy": "majority_vote", "n": 5, "budget": {"tokens": 40}}},
    )
    assert done.usage is not None
    assert done.usage.completion_tokens <= 40
    assert done.model_extra is not None
    assert done.model_extra["ttc"]["stopped"] == "tokens"
    assert done.model_extra["ttc"]["budget"] == {"tokens": 40, "seconds": None, "samples": None}


def test_logprobs_have_openais_shape(live: Live) -> None:
    done = live.client.chat.completions.create(
        model="mull-tiny",
        messages=ASK,
        logprobs=True,
        top_logprobs=2,
        extra_body={"ttc": {"strategy": "best_of_n"}},
    )
    logprobs = done.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == BEST
    first = logprobs.content[0]
    assert (first.token, first.bytes, first.logprob) == ("O", list(b"O"), -0.1)
    assert [(t.token, t.logprob) for t in first.top_logprobs] == [("O", -0.1), ("b", -1.1)]


def test_sampling_settings_reach_the_engine(start: Start) -> None:
    with start() as live:
        live.client.chat.completions.create(
            model="mull-tiny+majority_vote",
            messages=[{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, *ASK],
            temperature=0.7,
            top_p=0.9,
            max_completion_tokens=20,
            stop="\n\n",
            seed=3,
            frequency_penalty=0.5,
            logit_bias={"7": -5},
            extra_body={"top_k": 5, "min_p": 0.1, "chat_template_kwargs": {"style": "terse"}},
            user="someone",
            metadata={"run": "1"},
        )
        sampling, chat = live.script.seen[0], live.script.chats[0]
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.7, 0.9, 5, 0.1)
    assert sampling.max_tokens == 20
    assert sampling.stop == ("\n\n",)
    assert sampling.seed is not None
    assert sampling.extra == {"frequency_penalty": 0.5, "logit_bias": {7: -5.0}}
    assert chat.messages[0] == {"role": "system", "content": "Be brief."}
    assert chat.template == {"style": "terse"}


def test_a_message_from_the_sdk_can_be_sent_back(live: Live) -> None:
    client = live.client
    said = client.chat.completions.create(model="mull-tiny", messages=ASK).choices[0].message
    again: Any = [*ASK, said.model_dump(), {"role": "user", "content": "Sure?"}]
    assert (
        client.chat.completions.create(model="mull-tiny", messages=again).choices[0].message.content == BEST
    )


def test_candidates_and_trace_come_on_request(live: Live) -> None:
    done = live.client.chat.completions.create(
        model="mull-tiny",
        messages=ASK,
        extra_body={"ttc": {"strategy": "best_of_n", "n": 3, "include": ["candidates", "trace"]}},
    )
    assert done.model_extra is not None
    ttc = done.model_extra["ttc"]
    assert {c["answer"] for c in ttc["candidates"]} == {"2", "3"}
    assert [n["id"] for n in ttc["trace"]] == [0, 1, 2, 3]
    assert ttc["verifier"] == "orm"
    assert ttc["verifier_calls"] == 1
    assert ttc["verifier_tokens"] == sum(len(c["text"]) for c in ttc["candidates"])
    assert ttc["samples"] == 3
