"""Laws of the rewards: what is better is rewarded more, and nothing leaves its bounds."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

pytest.importorskip("trl")

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mull.training.bundled.problems import generate, to_row
from mull.training.errors import TrainingError
from mull.training.rewards import Reward, build, close
from mull.training.rewards.functions import RewardFunction, one_box, shortness
from mull.training.statistics import auc

MODELS = Path(__file__).parents[2] / "models"
TOKENIZER = AutoTokenizer.from_pretrained(MODELS / "policy")
END = TOKENIZER.eos_token_id
READ = TypeAdapter[Reward](Reward)


@contextmanager
def made(*configs: dict[str, Any]) -> Iterator[list[RewardFunction]]:
    functions, _ = build([READ.validate_python(c) for c in configs], TOKENIZER)
    try:
        yield functions
    finally:
        close(functions)


def ask(
    function: RewardFunction, texts: list[str], *, ids: list[list[int]] | None = None, **columns: Any
) -> list[float]:
    """Rewards of some answers to one prompt, complete where no ids are given."""
    return function(
        prompts=columns.pop("prompts", [[{"role": "user", "content": "?"}]] * len(texts)),
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        completion_ids=[[5] * len(t) + [END] for t in texts] if ids is None else ids,
        **columns,
    )


def test_right_answers_are_worth_more_than_wrong_ones_and_none() -> None:
    texts = [r"\boxed{4}", r"\boxed{5}", "no idea", r"\boxed{\frac{8}{2}}", r"\boxed{2^2}"]
    with made({"kind": "correct"}) as (reward,):
        assert ask(reward, texts, answer=["4"] * 5) == [1, 0, 0, 1, 1]


def test_what_was_cut_off_is_not_right() -> None:
    with made({"kind": "correct"}) as (reward,):
        assert ask(reward, [r"\boxed{4}"] * 3, ids=[[5, END], [5, 6], []], answer=["4"] * 3) == [1, 0, 0]


def test_each_answer_is_held_against_its_own_reference() -> None:
    rng = random.Random(0)
    said, true = ([rng.randrange(4) for _ in range(200)] for _ in range(2))
    with made({"kind": "correct", "form": "number"}) as (reward,):
        found = ask(reward, [f"so {n}" for n in said], answer=[str(n) for n in true])
    assert found == [float(a == b) for a, b in zip(said, true, strict=True)]


@pytest.mark.parametrize("columns", [{}, {"answer": ["4", None]}])
def test_a_missing_reference_is_an_error(columns: dict[str, Any]) -> None:
    with made({"kind": "correct"}) as (reward,), pytest.raises(TrainingError, match="`answer`"):
        ask(reward, ["4", "4"], **columns)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (r"so \boxed{4}", True),
        ("$\\boxed{\\frac{1}{2}}$.\n", True),
        (r"\[\boxed{4}\]", True),
        (r"\boxed{4} and \boxed{4}", False),
        (r"\boxed{4} is it", False),
        (r"\boxed{4}}", False),
        (r"\boxed{4} }", False),
        (r"\boxed{}", False),
        (r"\boxed{4", False),
        ("4", False),
        ("", False),
    ],
)
def test_one_box_at_the_end(text: str, good: bool) -> None:
    assert one_box(text) is good


def test_format_may_be_a_regular_expression() -> None:
    with made({"kind": "format", "pattern": r"(?s).*#### -?\d+"}, {"kind": "format"}) as (own, box):
        assert ask(own, ["2\n#### 4", "#### 4 or so", "<think>x</think>#### 4"]) == [1, 0, 1]
        assert ask(box, [r"<think>\boxed{3}</think>\boxed{4}", "#### 4"]) == [1, 0]


def test_a_regular_expression_that_takes_too_long_does_not_match() -> None:
    with made({"kind": "format", "pattern": r"(a|aa)+$"}) as (reward,):
        assert ask(reward, ["a" * 60 + "b"]) == [0]


def test_length_is_free_up_to_the_margin_then_falls_to_minus_one() -> None:
    with made({"kind": "length", "limit": 20, "margin": 8}) as (reward,):
        found = ask(reward, ["x"] * 30, ids=[[5] * n for n in range(1, 31)])
    assert found[:12] == [0] * 12
    assert all(a > b for a, b in pairwise(found[11:20]))
    assert found[19:] == [-1] * 11


def test_repetition_is_punished_by_its_share() -> None:
    with made({"kind": "repetition", "ngram": 2}) as (reward,):
        fresh, some, all_ = ask(reward, ["x"] * 3, ids=[list(range(9)), [1, 2, 1, 2, 3, 4], [7] * 50])
    assert fresh == 0 > some > all_ >= -1


def test_shortness_prefers_short_among_right_and_never_rewards_wrong() -> None:
    rng = random.Random(1)
    for _ in range(200):
        lengths = [rng.randrange(1, 60) for _ in range(8)]
        right = [rng.random() < 0.5 for _ in lengths]
        values = shortness(lengths, right)
        assert all(-0.5 <= v <= 0.5 for v in values)
        assert all(v <= 0 for v, good in zip(values, right, strict=True) if not good)
        ranked = sorted((n, v) for n, v, good in zip(lengths, values, right, strict=True) if good)
        assert all(a[1] >= b[1] for a, b in pairwise(ranked))
        # Beside `correct`, with a weight below 1, right answers stay above wrong ones.
        totals = [good + 0.9 * v for v, good in zip(values, right, strict=True)]
        best_wrong = max((t for t, good in zip(totals, right, strict=True) if not good), default=-1.0)
        assert all(t > best_wrong for t, good in zip(totals, right, strict=True) if good)


def test_conciseness_is_relative_to_answers_to_the_same_prompt() -> None:
    prompts = [[{"role": "user", "content": q}] for q in "abab"]
    with made({"kind": "concise"}) as (reward,):
        found = ask(
            reward,
            [r"\boxed{1}"] * 4,
            ids=[[5] * n + [END] for n in (3, 50, 9, 80)],
            answer=["1"] * 4,
            prompts=prompts,
        )
    assert found == [0.5, 0.5, -0.5, -0.5]


def test_names_differ_and_weights_keep_their_order() -> None:
    configs = [{"kind": "format", "weight": 0.5}, {"kind": "correct"}, {"kind": "format", "pattern": "x"}]
    functions, weights = build([READ.validate_python(c) for c in configs], TOKENIZER)
    close(functions)
    assert [f.__name__ for f in functions] == ["format", "correct", "format_2"]
    assert weights == [0.5, 1, 1]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "correct", "form": "roman"}, "boxed"),
        ({"kind": "concise", "form": "roman"}, "boxed"),
        ({"kind": "format", "pattern": "("}, "not a regular expression"),
        ({"kind": "length", "limit": 5, "margin": 6}, "larger than limit"),
        ({"kind": "kindness"}, "'correct'"),
        ({"kind": "prm", "model": "x", "format": {"type": "token_logprobs"}}, "step_tag"),
    ],
)
def test_wrong_settings_are_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        READ.validate_python(config)


def test_a_reward_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=str(tmp_path)), made({"kind": "orm", "model": str(tmp_path)}):
        pass


def test_an_orm_has_one_label() -> None:
    path = str(MODELS / "prm")
    with pytest.raises(TrainingError, match="2 labels"), made({"kind": "orm", "model": path}):
        pass


def _answers(count: int) -> dict[str, list[Any]]:
    """Reference solutions of the bundled task, and the same ones with wrong numbers."""
    found: dict[str, list[Any]] = {"prompts": [], "texts": [], "ids": []}
    for row in map(to_row, generate(77, count)):
        right = "\n".join(row["steps"])
        for text in (right, right.translate(str.maketrans("12345678", "23456781"))):
            found["prompts"].append([{"role": "user", "content": row["question"]}])
            found["texts"].append(text)
            found["ids"].append([*TOKENIZER.encode(text, add_special_tokens=False), END])
    return found


@pytest.mark.parametrize("kind", ["orm", "prm"])
def test_reward_models_tell_right_from_wrong(kind: str) -> None:
    cases = _answers(12)
    with made({"kind": kind, "model": str(MODELS / kind)}) as (reward,):
        found = ask(reward, cases["texts"], ids=cases["ids"], prompts=cases["prompts"])
        again = [
            ask(reward, [t], ids=[i], prompts=[p])[0]
            for t, i, p in zip(cases["texts"], cases["ids"], cases["prompts"], strict=True)
        ]
        assert ask(reward, ["", " \n"]) == [0, 0]
    assert all(0 <= value <= 1 for value in found)
    assert auc(found, [n % 2 == 0 for n in range(len(found))]) > 0.8
    # A batch, with its padding, changes nothing but the last digits of bfloat16.
    assert found == pytest.approx(again, abs=0.05)


def test_an_orm_reads_the_conversation_as_its_template_spells_it() -> None:
    cases, path = _answers(3), str(MODELS / "orm")
    model = AutoModelForSequenceClassification.from_pretrained(path)
    with made({"kind": "orm", "model": path}) as (reward,):
        found = ask(reward, cases["texts"], ids=cases["ids"], prompts=cases["prompts"])
    for value, prompt, text in zip(found, cases["prompts"], cases["texts"], strict=True):
        chat = [*prompt, {"role": "assistant", "content": text}]
        ids = TOKENIZER.apply_chat_template(chat, return_tensors="pt", return_dict=False)
        assert value == pytest.approx(model(ids).logits.sigmoid().item(), abs=0.05)


def test_a_chain_is_as_strong_as_its_weakest_step() -> None:
    cases = _answers(6)
    model = {"kind": "prm", "model": str(MODELS / "prm")}
    with made(model, model | {"aggregation": "mean"}) as (least, mean):
        a, b = (ask(r, cases["texts"], ids=cases["ids"], prompts=cases["prompts"]) for r in (least, mean))
    assert all(x <= y for x, y in zip(a, b, strict=True))
    assert a != b
