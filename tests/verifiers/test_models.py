"""Verifiers on real vLLM, against the forward passes of transformers, for each published format."""

from __future__ import annotations

import asyncio
import json
import math
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mull.engines import supervised
from mull.errors import InvalidRequest, VerifierUnavailable
from mull.types import Chat, Score
from mull.verifiers.config import Verifiers, build, parse

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default"),
]

Make = Callable[..., Any]

QUESTION = "What is 2 + 3?"
STEPS = ["Add them.\n", "2 + 3 = 5\n", "so far so 5\n", "The answer is \\boxed{5}."]
TEXT = "".join(STEPS)
TEXTS = [TEXT, "".join(STEPS[:2]), STEPS[0] + "2 + 3 = 6\n", "5", TEXT.replace("5", "6"), "Yes\n\nNo\n"]
CLOSE = 1e-3

SETTINGS: dict[str, dict[str, Any]] = {
    "orm": {"kind": "orm", "model": "orm", "temperature": 2.0, "bias": 0.5},
    "difficulty": {"kind": "difficulty", "model": "orm", "temperature": 2.0, "bias": 0.5},
    "prm": {"kind": "prm", "model": "prm"},
    "forgetful": {"kind": "prm", "model": "prm", "memory": 1},
    "qwen": {"kind": "prm", "model": "qwen", "format": {"type": "step_tag", "tag": "<extra_0>"}},
    "shepherd": {
        "kind": "prm",
        "model": "shepherd",
        "format": {
            "type": "token_logprobs",
            "good": "+",
            "bad": "-",
            "tag": " ки",
            "after": "\n",
            "template": "{question} ",
        },
    },
    "rlhflow": {
        "kind": "prm",
        "model": "lm",
        "format": {"type": "token_logprobs", "good": "+", "bad": "-", "turns": True},
    },
    "likelihood": {"kind": "likelihood", "model": "lm", "temperature": 4.0},
    "least": {"kind": "likelihood", "model": "lm", "reduce": "min", "temperature": 8.0},
    "forgetful-likelihood": {"kind": "likelihood", "model": "lm", "temperature": 4.0, "memory": 1},
    "implicit": {
        "kind": "likelihood",
        "model": "lm",
        "reference": "other",
        "reduce": "sum",
        "temperature": 20.0,
    },
    "judge": {"kind": "generative", "model": "lm", "good": " Yes", "bad": " No", "each": "step"},
    "judge-once": {"kind": "generative", "model": "lm", "good": " Yes", "bad": " No", "lead": "Yes or No?"},
}
PROCESS = sorted(set(SETTINGS) - {"orm", "difficulty", "judge-once"})


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def verifiers(models: Path) -> AsyncIterator[Verifiers]:
    """All of `SETTINGS` on six engines, started once."""
    configs = {}
    for name, settings in SETTINGS.items():
        places: dict[str, Any] = {
            key: str(models / settings[key]) for key in ("model", "reference") if key in settings
        }
        configs[name] = parse({**settings, **places})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = await build(configs, policies=[str(models / "lm")])
        yield made
        await made.close()


@pytest.fixture
def score(verifiers: Verifiers, task: Make, candidate: Make) -> Make:
    async def score(name: str, *texts: str, question: str = QUESTION) -> list[Score]:
        found = await verifiers[name].score(task(question), [candidate(text) for text in texts])
        return list(found)

    return score


def near(expected: Iterable[float]) -> Any:
    return pytest.approx(tuple(expected), abs=CLOSE)


def logits_of(folder: Path, architecture: str, ids: Sequence[int]) -> Any:
    """Logits of a transformers model for one prompt, a row a token (or one row)."""
    import torch
    import transformers

    model = getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def rendered(tokenizer: Any, *messages: tuple[str, str], answer: str = "") -> list[int]:
    chat = [{"role": role, "content": content} for role, content in messages]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + answer
    return list(tokenizer.encode(text, add_special_tokens=False))


def softmax(row: Any, label: int) -> float:
    return float(row.softmax(-1)[label])


# -- each format against transformers ---------------------------------------------------------------------


async def test_orm(score: Make, models: Path, byte_level: Any) -> None:
    ids = rendered(byte_level, ("user", QUESTION), answer=TEXT + "<eos>")
    logit = float(logits_of(models / "orm", "LlamaForSequenceClassification", ids)[0])
    (found,) = await score("orm", TEXT)
    assert found.value == pytest.approx(1 / (1 + math.exp(-(logit + 0.5) / 2)), abs=CLOSE)
    assert found.steps == ()


async def test_difficulty_is_read_off_the_question_alone(score: Make, models: Path, byte_level: Any) -> None:
    logits = logits_of(
        models / "orm", "LlamaForSequenceClassification", rendered(byte_level, ("user", QUESTION))
    )
    found = await score("difficulty", TEXT, "another answer", "")
    expected = 1 / (1 + math.exp(-(float(logits[0]) + 0.5) / 2))
    assert [s.value for s in found] == [pytest.approx(expected, abs=CLOSE)] * 3
    assert [s.tokens > 0 for s in found[1:]] == [False, False]


async def test_token_classification(score: Make, models: Path, byte_level: Any) -> None:
    ids = rendered(byte_level, ("user", QUESTION), answer=TEXT)
    rows = logits_of(models / "prm", "LlamaForTokenClassification", ids)
    start = len(rendered(byte_level, ("user", QUESTION)))
    (newline,) = byte_level.encode("\n")
    ends = [i for i in range(start, len(ids)) if ids[i] == newline] + [len(ids) - 1]
    (found,) = await score("prm", TEXT)
    assert found.steps == near(softmax(rows[end], 1) for end in ends)
    assert found.value == min(found.steps)


async def test_step_tag(score: Make, models: Path) -> None:
    import torch
    import transformers
    from safetensors.torch import load_file

    tokenizer = transformers.AutoTokenizer.from_pretrained(models / "qwen")
    ids = rendered(tokenizer, ("user", QUESTION), answer="".join(s.strip() + "<extra_0>" for s in STEPS))
    tag = tokenizer.convert_tokens_to_ids("<extra_0>")
    weights = load_file(models / "qwen" / "model.safetensors")
    config = transformers.Qwen2Config.from_pretrained(models / "qwen")
    trunk = transformers.Qwen2Model(config).eval()
    trunk.load_state_dict({n.removeprefix("model."): w for n, w in weights.items() if n.startswith("model.")})
    with torch.no_grad():
        hidden = trunk(torch.tensor([ids])).last_hidden_state[0]
        hidden = (hidden @ weights["score.0.weight"].T + weights["score.0.bias"]).relu()
        rows = hidden @ weights["score.2.weight"].T + weights["score.2.bias"]
    (found,) = await score("qwen", TEXT)
    assert ids.count(tag) == len(STEPS)
    assert found.steps == near(softmax(rows[i], 1) for i in range(len(ids)) if ids[i] == tag)


async def test_math_shepherd(score: Make, models: Path, byte_level: Any) -> None:
    text, expected = QUESTION + " ", []
    good, bad = byte_level.encode("+")[0], byte_level.encode("-")[0]
    for step in STEPS:
        text += step.strip() + " ки"
        rows = logits_of(models / "shepherd", "MistralForCausalLM", byte_level.encode(text))
        expected.append(softmax(rows[-1][[good, bad]], 0))
        text += "\n"
    (found,) = await score("shepherd", TEXT)
    assert found.steps == near(expected)


async def test_rlhflow(score: Make, models: Path, byte_level: Any) -> None:
    good, bad = byte_level.encode("+")[0], byte_level.encode("-")[0]
    turns, expected = [("user", f"{QUESTION} {STEPS[0].strip()}")], []
    for step in [*STEPS[1:], ""]:
        rows = logits_of(models / "lm", "LlamaForCausalLM", rendered(byte_level, *turns))
        expected.append(softmax(rows[-1][[good, bad]], 0))
        turns += [("assistant", "+"), ("user", step.strip())]
    (found,) = await score("rlhflow", TEXT)
    assert found.steps == near(expected)


def step_logprobs(folder: Path, tokenizer: Any) -> list[list[float]]:
    """Log-probability of each token of each of `STEPS`."""
    ids = rendered(tokenizer, ("user", QUESTION), answer=TEXT)
    rows = logits_of(folder, "LlamaForCausalLM", ids).log_softmax(-1)
    at, found = len(rendered(tokenizer, ("user", QUESTION))), []
    for step in STEPS:
        size = len(tokenizer.encode(step))
        found.append([float(rows[i - 1][ids[i]]) for i in range(at, at + size)])
        at += size
    assert at == len(ids)
    return found


async def test_likelihood(score: Make, models: Path, byte_level: Any) -> None:
    steps = step_logprobs(models / "lm", byte_level)
    (mean,) = await score("likelihood", TEXT)
    assert mean.steps == near(math.exp(sum(step) / len(step) / 4) for step in steps)
    (least,) = await score("least", TEXT)
    assert least.steps == near(math.exp(min(step) / 8) for step in steps)


async def test_implicit(score: Make, models: Path, byte_level: Any) -> None:
    views = [step_logprobs(models / name, byte_level) for name in ("lm", "other")]
    ratios = [(sum(a) - sum(b)) / 20 for a, b in zip(*views, strict=True)]
    (found,) = await score("implicit", TEXT)
    assert found.steps == near(1 / (1 + math.exp(-ratio)) for ratio in ratios)


async def test_generative(score: Make, models: Path, byte_level: Any) -> None:
    good, bad = byte_level.encode(" Yes")[0], byte_level.encode(" No")[0]

    def ask(answer: str, lead: str = "") -> float:
        content = f"{QUESTION}\n\nSolution:\n{answer}\n\nIs the solution correct so far? Answer Yes or No."
        rows = logits_of(
            models / "lm", "LlamaForCausalLM", rendered(byte_level, ("user", content), answer=lead)
        )
        return softmax(rows[-1][[good, bad]], 0)

    (found,) = await score("judge", TEXT)
    assert found.steps == near(ask("".join(STEPS[:n]).strip()) for n in range(1, 5))
    (once,) = await score("judge-once", TEXT)
    assert (once.value, once.steps) == (pytest.approx(ask(TEXT, "Yes or No?"), abs=CLOSE), ())


# -- laws -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SETTINGS))
async def test_a_batch_equals_singles(score: Make, name: str) -> None:
    batch = await score(name, *TEXTS, TEXT, question="batch of " + name)
    for text, together in zip([*TEXTS, TEXT], batch, strict=True):
        (single,) = await score(name, text, question="batch of " + name)
        assert together.value == pytest.approx(single.value, abs=1e-5)
        assert together.steps == pytest.approx(single.steps, abs=1e-5)


@pytest.mark.parametrize("name", PROCESS)
async def test_growing_answers_are_scored_as_whole_ones(score: Make, name: str) -> None:
    grown: list[Score] = []
    for n in range(1, len(STEPS) + 1):
        grown += await score(name, "".join(STEPS[:n]), question="growing for " + name)
    whole = await score(name, TEXT, question="growing for  " + name)
    again = await score(name, TEXT, question="growing for " + name)
    assert again[0].steps == pytest.approx(grown[-1].steps, abs=1e-5)
    assert grown[-1].steps[: len(STEPS) - 1] == pytest.approx(grown[-2].steps, abs=1e-5)
    assert len(whole[0].steps) == len(STEPS)


@pytest.mark.parametrize("name", ["prm", "qwen", "likelihood", "shepherd"])
async def test_a_new_step_costs_only_itself(score: Make, name: str) -> None:
    long = [f"step one so far {n}\n" for n in range(12)]
    await score(name, "".join(long[:11]), question="cost of " + name)
    (found,) = await score(name, "".join(long), question="cost of " + name)
    (known,) = await score(name, "".join(long), question="cost of " + name)
    (full,) = await score(name, "".join(long), question="price of " + name)
    assert known.tokens == 0
    assert 0 < found.tokens < full.tokens / 3
    assert full.steps != found.steps


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"difficulty"}))
async def test_empty_and_too_long_answers_score_zero(score: Make, name: str) -> None:
    empty, long, good = await score(name, " \n", "5 " * 2000, TEXT)
    assert (empty.value, empty.steps, empty.tokens) == (0, (), 0)
    assert (long.value, long.steps) == (0, ())
    assert good.value > 0


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"judge", "judge-once", "rlhflow"}))
async def test_a_conversation_that_is_too_long_is_the_callers_fault(score: Make, name: str) -> None:
    with pytest.raises(InvalidRequest, match="reads fewer than"):
        await score(name, TEXT, question="5 " * 2000)


async def test_sampled_ids_are_used(
    verifiers: Verifiers, task: Make, candidate: Make, byte_level: Any
) -> None:
    usual = tuple(byte_level.encode(TEXT))
    unusual = tuple(i for character in TEXT for i in byte_level.encode(character))
    for name in ("prm", "orm", "likelihood"):
        plain, same, other = await verifiers[name].score(
            task("ids"), [candidate(TEXT), candidate(TEXT, ids=(*usual, 2)), candidate(TEXT, ids=unusual)]
        )
        assert (same.value, same.steps, same.tokens) == (plain.value, plain.steps, 0)
        assert other.value != pytest.approx(plain.value, abs=1e-5)


async def test_cancelling_aborts_in_the_engine(verifiers: Verifiers, task: Make, candidate: Make) -> None:
    for name in ("prm", "likelihood", "judge"):
        answers = [candidate("one two three so far\n" * 18 + str(n)) for n in range(64)]
        doomed = asyncio.create_task(verifiers[name].score(task("cancel"), answers))
        engines = list(verifiers._engines.values())
        async with asyncio.timeout(60):
            while not any(engine.get_num_unfinished_requests() for engine in engines):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        assert not any(engine.get_num_unfinished_requests() for engine in engines), name


# -- half precision and death: engines of their own ----------------------------------------------------------


async def test_half_precision_agrees(models: Path, task: Make, candidate: Make, score: Make) -> None:
    options = {"dtype": "bfloat16"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half = await build({"prm": parse({"kind": "prm", "model": str(models / "prm"), "options": options})})
    (found,) = await half["prm"].score(task(QUESTION), [candidate(TEXT)])
    (single,) = await score("prm", TEXT)
    await half.close()
    assert found.steps == pytest.approx(single.steps, abs=1e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "prm", "model": "lm"}, "is made for .*generate.*, not token_classify"),
        ({"kind": "likelihood", "model": "prm"}, "is made for .*token_classify.*, not generate"),
        (
            {"kind": "prm", "model": "prm", "format": {"type": "token_classification", "label": 2}},
            "no label 2",
        ),
        ({"kind": "generative", "model": "lm", "good": "Yes indeed"}, "tokens of .*, not one"),
    ],
)
async def test_a_model_that_does_not_fit_is_refused_at_the_start(
    verifiers: Verifiers, settings: dict[str, Any], message: str
) -> None:
    engines = {name: e for e in verifiers._engines.values() for name in (Path(e.model_config.model).name,)}
    with pytest.raises(InvalidRequest, match="verifier 'odd': .*" + message):
        await build({"odd": parse(settings)}, engines=engines)


async def test_a_dead_engine_is_asked_again_when_it_is_back(
    models: Path, task: Make, candidate: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = await build({"prm": parse({"kind": "prm", "model": str(models / "prm")})})
    await made.check()
    (engine,) = made._engines.values()
    before = await made["prm"].score(task(), [candidate(TEXT)])

    def kill() -> None:
        for child in engine.engine_core.resources.engine_manager.processes:
            child.kill()

    kill()
    # It was judged before, so what is asked now has to be new.
    again = await made["prm"].score(task("Other?"), [candidate(TEXT)])
    assert len(again[0].steps) == len(before[0].steps)
    assert engine.restarts == 1
    monkeypatch.setattr(supervised, "PATIENCE", 0.0)
    kill()
    for ask in (lambda: made["prm"].score(task("Third?"), [candidate(TEXT)]), made.check):
        with pytest.raises(VerifierUnavailable) as caught:
            await ask()
        assert caught.value.name == "prm"
    await made.close()


async def test_the_qwen_model_is_saved_with_its_own_tokenizer(models: Path) -> None:
    from transformers import AutoTokenizer

    assert json.loads((models / "qwen" / "config.json").read_text())["model_type"] == "qwen2"
    tokenizer = AutoTokenizer.from_pretrained(models / "qwen")
    assert tokenizer.decode(tokenizer.encode("a  b\n\nc<extra_0>")) == "a  b\n\nc<extra_0>"


async def test_other_turns_reach_the_model(verifiers: Verifiers, candidate: Make) -> None:
    from mull.types import Task

    first = {"role": "user", "content": QUESTION}
    system = {"role": "system", "content": "Judge."}
    for name in ("orm", "prm", "likelihood"):
        tasks = [Task(chat=Chat(messages=messages)) for messages in ((first,), (system, first))]
        with_and_without = [(await verifiers[name].score(t, [candidate(TEXT)]))[0].value for t in tasks]
        assert with_and_without[0] != pytest.approx(with_and_without[1], abs=1e-6)
