"""Every strategy on the bundled models: it answers, and is billed what the engine counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Server

CALM = 0.2
BOX = "The answer is \\boxed{"

STRATEGIES: dict[str, dict[str, Any]] = {
    "single": {"greedy": True},
    "majority_vote": {"n": 4},
    "best_of_n": {"n": 4, "length_penalty": 0.1},
    "weighted_best_of_n": {"n": 4},
    "adaptive_consistency": {"n": 12},
    "early_stopping": {"n": 12},
    "confidence": {"mode": "online", "n": 8, "warmup": 4, "window": 8, "span": 16},
    "speculative_rejection": {"n": 4, "span": 16},
    "budget_forcing": {"extensions": 1},
    "early_exit": {"delimiter": "\n", "probe": BOX, "closing": BOX, "agree": 2},
    "adaptive": {
        "samples": 2,
        "levels": [{"at_least": 0, "inner": {"strategy": "mcts", "simulations": 4}}],
    },
    "cascade": {
        "stages": [
            {"inner": {"strategy": "majority_vote", "n": 2}, "at_least": 1},
            {"inner": {"strategy": "best_of_n", "n": 4, "budget": {"share": 0.5}}},
        ]
    },
    "beam_search": {"width": 2, "expand": 2, "lookahead": 1, "step_tokens": 40},
    "dvts": {"n": 4, "width": 2},
    "best_first": {"branch": 2},
    "bfs": {"width": 2, "branch": 2},
    "dfs": {"branch": 2},
    "mcts": {"simulations": 8, "branch": 2, "value": "both"},
    "particle_filtering": {"n": 4, "resampling": "systematic"},
    "token_beam_search": {"width": 2},
    "entropy_branching": {"n": 3},
    "cot": {"inner": {"strategy": "best_of_n", "n": 2}},
    "few_shot": {
        "examples": [
            {"question": "Ada owns 3 eggs. Ben has twice as many as Ada. How many eggs does Ben have?"},
        ]
    },
    "self_verify": {"n": 3, "checks": "both"},
    "self_critique": {"inner": {"strategy": "best_of_n", "n": 2}, "rounds": 1},
    "select": {"n": 3},
    "rerank": {"n": 3},
    "tree_of_thoughts": {"expand": 2, "width": 2, "votes": 1, "depth": 12},
    "graph_of_thoughts": {},
    "mixture_of_agents": {"proposers": 2},
    "debate": {"agents": 2, "rounds": 1, "models": ["mull-tiny"]},
    "rag": {"inner": {"strategy": "mcts", "simulations": 4}, "k": 2},
    "long_context": {},
}
STRATEGIES["few_shot"]["examples"][0]["answer"] = (
    "Ben has twice as many as Ada 3 = 6\nThe answer is \\boxed{6}."
)


def test_no_strategy_is_left_out(server: Server) -> None:
    listed = server.http.get("/v1/ttc/strategies").json()["data"]
    assert {s["name"] for s in listed if s["models"]} == STRATEGIES.keys()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_answers_and_is_billed_exactly(server: Server, ask: Any, name: str) -> None:
    names = ("generation_tokens_total", "prompt_tokens_total", "prompt_tokens_cached_total")
    before = [server.metric(f"vllm:{name}") for name in names]
    ttc = {"strategy": name, **STRATEGIES[name], "include": ["candidates", "trace"]}
    response = server.http.post(
        "/v1/chat/completions",
        json={"model": "mull-tiny", "messages": ask, "temperature": CALM, "seed": 1, "ttc": ttc},
    )
    assert response.status_code == 200, response.text
    done = response.json()
    assert done["choices"][0]["message"]["content"]
    assert done["ttc"]["strategy"] == name
    assert done["ttc"]["stopped"] in ("complete", "consensus", "fixed_point")
    usage = done["usage"]
    billed = [
        usage["completion_tokens"],
        usage["prompt_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
    ]
    assert billed == [server.metric(f"vllm:{name}") - b for name, b in zip(names, before, strict=True)]
    assert sum(node["tokens"] for node in done["ttc"]["trace"]) == usage["completion_tokens"]
    assert len({c["node"] for c in done["ttc"]["candidates"]}) == len(done["ttc"]["candidates"])


def test_critique_and_verdict_are_what_the_policy_was_taught(server: Server, ask: Any) -> None:
    """The bundled policy knows these turns: its replies to them can be read."""
    ttc = {"strategy": "self_critique", "rounds": 1, "include": ["trace"]}
    request = {"model": "mull-tiny", "messages": ask, "temperature": CALM, "seed": 1}
    done = server.http.post("/v1/chat/completions", json={**request, "ttc": ttc}).json()
    critiques = [node["text"] for node in done["ttc"]["trace"] if node["kind"] == "critique"]
    assert len(critiques) == 1
    assert critiques[0] == "All correct." or critiques[0].startswith("Line ")
    ttc = {"strategy": "self_verify", "n": 4, "include": ["candidates"]}
    done = server.http.post("/v1/chat/completions", json={**request, "ttc": ttc}).json()
    assert all(0 <= c["score"] <= 1 for c in done["ttc"]["candidates"])
    assert done["ttc"]["confidence"] > 0.5


@pytest.mark.parametrize(
    ("ttc", "said"),
    [
        ({"strategy": "adaptive", "levels": []}, "the last at_least must be 0"),
        (
            {"strategy": "self_critique", "inner": {"strategy": "best_of_n", "m": 3}},
            "ttc.inner.m",
        ),
        ({"strategy": "rag", "inner": {"strategy": "magic"}}, "unknown strategy 'magic'"),
        ({"strategy": "mixture_of_agents", "models": ["nobody"]}, "known are mull-tiny"),
        ({"strategy": "rag", "retriever": "nowhere"}, "known are facts"),
    ],
)
def test_what_is_wrong_inside_is_named(server: Server, ask: Any, ttc: Any, said: str) -> None:
    response = server.http.post(
        "/v1/chat/completions", json={"model": "mull-tiny", "messages": ask, "ttc": ttc}
    )
    assert response.status_code in (400, 404)
    assert said in response.json()["error"]["message"]
