"""vLLM in this process and vLLM's server over HTTP: the same laws, the same results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mull.engines.remote import RemoteGenerator
from mull.engines.vllm import VLLMGenerator
from mull.errors import InvalidRequest, Unsupported
from mull.protocols import Generator, Tokenizing
from mull.testing.laws import GENERATOR_LAWS
from mull.types import Bare, Chat, Completion, Meter, Prompt, Sampling

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1200),
]

Engine = VLLMGenerator | RemoteGenerator
GREEDY = Sampling(temperature=0.0, max_tokens=60)


async def sample(
    generator: Generator, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
) -> list[Completion]:
    async with aclosing(generator.sample(prompt, sampling, n=n, meter=meter)) as results:
        return sorted([c async for c in results], key=lambda c: c.index)


async def stream(generator: Generator, prompt: Prompt, sampling: Sampling) -> tuple[list[str], Completion]:
    async with aclosing(generator.stream(prompt, sampling)) as chunks:
        seen = [chunk async for chunk in chunks]
    last = seen[-1].completion
    assert last is not None
    return [chunk.text for chunk in seen], last


@pytest.mark.parametrize("law", GENERATOR_LAWS, ids=lambda law: law.__name__)
async def test_law(law: Callable[[Generator, Chat], Awaitable[None]], generator: Engine, chat: Chat) -> None:
    await law(generator, chat)


async def test_it_is_a_generator(generator: Engine) -> None:
    assert isinstance(generator, Generator)
    assert generator.continues
    assert generator.context == 1024
    await generator.check()


async def test_both_engines_give_the_same(local: VLLMGenerator, remote: RemoteGenerator, chat: Chat) -> None:
    prompts = [await g.render(chat) for g in (local, remote)]
    assert prompts[0] == prompts[1]
    for sampling in (
        replace(GREEDY, logprobs=3),
        Sampling(max_tokens=40, temperature=1.2, top_p=0.9, top_k=20, min_p=0.01, seed=5, logprobs=0),
        Sampling(max_tokens=40, seed=6, step="\n"),
        Sampling(max_tokens=40, seed=7, stop=("boxed", "="), extra={"repetition_penalty": 1.3}),
        Sampling(seed=8),
    ):
        ours, theirs = [await sample(g, prompts[0], sampling, n=3) for g in (local, remote)]
        for a, b in zip(ours, theirs, strict=True):
            assert (a.text, a.ids, a.finish, a.usage.prompt, a.usage.completion) == (
                b.text,
                b.ids,
                b.finish,
                b.usage.prompt,
                b.usage.completion,
            )
            assert [t.token for t in a.logprobs] == [t.token for t in b.logprobs]
            assert [t.id for t in a.logprobs] == [t.id for t in b.logprobs]
            for one, other in zip(a.logprobs, b.logprobs, strict=True):
                assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
                assert [text for text, _, _ in one.top] == [text for text, _, _ in other.top]


async def test_the_models_own_settings_are_the_default(
    local: VLLMGenerator, generator: Engine, chat: Chat
) -> None:
    """What the policy's generation config says is what a request without a temperature gets."""
    config = json.loads((Path(local._engine.model_config.model) / "generation_config.json").read_text())
    assert local._defaults["temperature"] == config["temperature"]
    prompt = await generator.render(chat)
    silent, said, other = [
        [c.ids for c in await sample(generator, prompt, Sampling(max_tokens=30, seed=2, temperature=t), n=8)]
        for t in (None, config["temperature"], 2.0)
    ]
    assert silent == said
    assert said != other


async def test_samples_share_the_prompt_in_the_cache(generator: Engine, chat: Chat) -> None:
    question = f"{chat.question} {type(generator).__name__} " * 4
    prompt = await generator.render(Chat(messages=({"role": "user", "content": question},)))
    assert prompt.ids is not None
    blocks = (len(prompt.ids) - 1) // 32
    meter = Meter()
    samples = await sample(generator, prompt, Sampling(max_tokens=4), n=4, meter=meter)
    assert sorted(c.usage.cached for c in samples)[1:] == [32 * blocks] * 3
    assert meter.usage.cached == sum(c.usage.cached for c in samples)


async def test_logprobs(generator: Engine, chat: Chat) -> None:
    prompt = await generator.render(chat)
    for count in (0, 3):
        [completion] = await sample(generator, prompt, replace(GREEDY, logprobs=count))
        assert tuple(t.id for t in completion.logprobs) == completion.ids
        for told in completion.logprobs:
            assert told.logprob <= 0
            assert len(told.top) == count
            if count:
                assert told.top[0] == (told.token, told.id, told.logprob)
                assert sorted(told.top, key=lambda option: -option[2]) == list(told.top)
    assert "".join(t.token for t in completion.logprobs[:-1]) == completion.text
    [silent] = await sample(generator, prompt, GREEDY)
    assert silent.logprobs == ()


async def test_streamed_logprobs_are_those_of_the_completion(generator: Engine, chat: Chat) -> None:
    prompt = await generator.render(chat)
    sampling = replace(GREEDY, logprobs=1, stop=("never said",))
    async with aclosing(generator.stream(prompt, sampling)) as chunks:
        seen = [chunk async for chunk in chunks]
    assert len(seen) > 2
    assert seen[-1].completion is not None
    assert tuple(t for chunk in seen for t in chunk.logprobs) == seen[-1].completion.logprobs


async def test_a_step_is_what_its_tokens_say(local: VLLMGenerator, generator: Engine, chat: Chat) -> None:
    """Every character as delimiter, in mid-token too: the steps are the answer in one piece."""
    prompt = await generator.render(chat)
    [whole] = await sample(generator, prompt, GREEDY)
    assert whole.finish == "stop"
    multiple = 0
    for delimiter in [*sorted(set(whole.text) - {"\n"}), "\n", "swer", " i"]:
        current, left = prompt, 60
        while True:
            [step] = await sample(generator, current, replace(GREEDY, step=delimiter, max_tokens=left))
            if step.finish != "step":
                break
            assert delimiter in step.text
            assert await local.decode(step.ids) == step.text
            multiple += not step.text.endswith(delimiter)
            current, left = current.extend(step), left - step.usage.completion
        assert current.text + step.text == whole.text
        assert current.extend(step).ids == (*(prompt.ids or ()), *whole.ids)
    assert multiple


async def test_stop_strings_in_mid_token(generator: Engine, chat: Chat) -> None:
    prompt = await generator.render(chat)
    [whole] = await sample(generator, prompt, GREEDY)
    for at in range(0, len(whole.text) - 3, 3):
        stop = whole.text[at : at + 3]
        expected = whole.text[: whole.text.index(stop)]
        [cut] = await sample(generator, prompt, replace(GREEDY, stop=(stop,)))
        assert (cut.text, cut.finish) == (expected, "stop")
        assert cut.ids == whole.ids[: len(cut.ids)]
        pieces, last = await stream(generator, prompt, replace(GREEDY, stop=(stop,)))
        assert ("".join(pieces), last.ids) == (expected, cut.ids)


async def test_stop_strings_and_a_delimiter_together(generator: Engine, chat: Chat) -> None:
    prompt = await generator.render(chat)
    [whole] = await sample(generator, prompt, GREEDY)
    delimiter = whole.text[len(whole.text) // 2]
    at = whole.text.index(delimiter)
    stepping = replace(GREEDY, step=delimiter)
    [step] = await sample(generator, prompt, replace(stepping, stop=("never said",)))
    assert (step.text[: at + 1], step.finish) == (whole.text[: at + 1], "step")
    [stopped] = await sample(generator, prompt, replace(stepping, stop=(step.text[:2],)))
    assert (stopped.text, stopped.finish) == ("", "stop")
    [same] = await sample(generator, prompt, replace(stepping, stop=(delimiter,)))
    assert (same.text, same.finish) == (whole.text[:at], "stop")
    later = prompt.extend(step)
    [after] = await sample(generator, later, GREEDY)
    across = replace(stepping, stop=(step.text[-1] + after.text[0],))
    [answer] = await sample(generator, later, across)
    assert (answer.text, answer.finish) == ("", "stop")
    pieces, answer = await stream(generator, later, across)
    assert (pieces, answer.text, answer.finish) == ([""], "", "stop")


async def test_the_context_is_the_limit(generator: Engine, chat: Chat) -> None:
    sampling = Sampling(extra={"ignore_eos": True}, max_tokens=5000)
    words = "word " * 2000
    encoded = (await generator.render(chat)).ids or ()
    full = Prompt(chat=chat, ids=(encoded * 100)[: generator.context - 5])
    [completion] = await sample(generator, full, sampling)
    assert (completion.finish, completion.usage.completion) == ("length", 5)
    [completion] = await sample(generator, full, replace(sampling, max_tokens=None))
    assert (completion.finish, completion.usage.completion) == ("length", 5)
    over = Prompt(chat=chat, ids=(encoded * 100)[: generator.context])
    with pytest.raises(InvalidRequest, match="maximum context length is 1024 tokens") as refused:
        await sample(generator, over, sampling)
    assert refused.value.code == "context_length_exceeded"
    for text in (words, words * 200):
        with pytest.raises(InvalidRequest, match="maximum context length is 1024 tokens") as refused:
            await generator.render(Chat(messages=({"role": "user", "content": text},)))
        assert (refused.value.param, refused.value.code) == ("messages", "context_length_exceeded")


async def test_the_chat_template(generator: Engine, local: VLLMGenerator) -> None:
    messages = ({"role": "user", "content": "one"}, {"role": "assistant", "content": "two"})
    prompt = await generator.render(Chat(messages=messages))
    assert prompt.ids is not None
    assert prompt.ids[0] == 1
    assert prompt.ids[-1] == 2
    assert await local.decode(prompt.ids) == "one\ntwo"
    going_on = Chat(
        messages=messages, template={"continue_final_message": True, "add_generation_prompt": False}
    )
    assert (await generator.render(going_on)).ids == prompt.ids[:-1]
    parts = Chat(messages=({"role": "user", "content": [{"type": "text", "text": "one"}]},))
    assert await local.decode((await generator.render(parts)).ids or ()) == "one\n"
    with pytest.raises(Unsupported, match="'image_url'"):
        await generator.render(Chat(messages=({"role": "user", "content": [{"type": "image_url"}]},)))
    for broken in ({"content": "no role"}, {"role": "user", "content": 3}):
        with pytest.raises(InvalidRequest):
            await generator.render(Chat(messages=(broken,)))


async def test_a_prompt_without_the_chat_template(generator: Engine) -> None:
    assert isinstance(generator, Tokenizing)
    plain = await generator.encode("6 coins")
    for bare in (Bare(text="6 coins", special=False), Bare(text="6 coins", ids=plain)):
        assert (await generator.render(Chat.of(bare))).ids == plain
    with_special = await generator.encode("6 coins", special=True)
    assert (await generator.render(Chat.of(Bare(text="6 coins")))).ids == with_special
    assert await generator.spell(plain) == "6 coins"
    with pytest.raises(InvalidRequest, match="no tokens"):
        await generator.render(Chat.of(Bare(text="", special=False)))
    with pytest.raises(InvalidRequest, match="maximum context length") as refused:
        await generator.render(Chat.of(Bare(text="", ids=plain * generator.context)))
    assert refused.value.param == "prompt"
    unknown = Prompt(chat=Chat.of(Bare(text="x")), ids=(2**31 - 1,))
    with pytest.raises(InvalidRequest):
        await sample(generator, unknown, Sampling(max_tokens=2))
    if isinstance(generator, VLLMGenerator):
        with pytest.raises(InvalidRequest, match="no token of"):
            await generator.spell([2**31 - 1])


async def test_the_engines_own_fields(generator: Engine, chat: Chat, local: VLLMGenerator) -> None:
    prompt = await generator.render(chat)
    [seven] = await local.encode("7")
    schema = {"name": "pick", "schema": {"enum": ["yes"]}}
    for extra, expected in (
        ({"logit_bias": {str(seven): 100}}, "7777"),
        ({"allowed_token_ids": [seven], "presence_penalty": None}, "7777"),
        ({"response_format": {"type": "json_schema", "json_schema": schema}}, '"yes"'),
        ({"structured_outputs": {"choice": ["maybe"]}}, "maybe"),
    ):
        [completion] = await sample(generator, prompt, Sampling(max_tokens=4, seed=1, extra=extra))
        assert expected.startswith(completion.text[:3])
        assert completion.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"extra": {"nonsense": 1}}, "nonsense"),
        ({"extra": {"n": 4}}, "n"),
        ({"extra": {"presence_penalty": 9}}, "presence_penalty"),
        ({"extra": {"presence_penalty": "much"}}, "presence_penalty"),
        ({"extra": {"allowed_token_ids": ["a"]}}, "allowed_token_ids"),
        ({"extra": {"allowed_token_ids": [99999]}}, "allowed_token_ids"),
        ({"extra": {"ignore_eos": "perhaps"}}, "ignore_eos"),
        ({"extra": {"logit_bias": {"a": 1}}}, "logit_bias"),
        ({"extra": {"logit_bias": {"99999": 1}}}, "logit_bias"),
        ({"extra": {"response_format": {"type": "poem"}}}, "response_format"),
        ({"extra": {"bad_words": [""]}}, "bad_words"),
        ({"temperature": 3.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -3}, "top_k"),
        ({"min_p": 2.0}, "min_p"),
        ({"logprobs": 1000}, "logprobs"),
        ({"stop": ("",)}, "stop"),
    ],
    ids=str,
)
async def test_what_vllm_refuses(generator: Engine, chat: Chat, fields: dict[str, Any], param: str) -> None:
    prompt = await generator.render(chat)
    meter = Meter()
    with pytest.raises(InvalidRequest) as refused:
        await sample(generator, prompt, Sampling(**fields), n=2, meter=meter)
    if isinstance(generator, VLLMGenerator):
        assert refused.value.param == param
    assert param in f"{refused.value.param} {refused.value}"
    assert meter.usage.completion == 0
    assert await sample(generator, prompt, Sampling(max_tokens=1))


async def test_many_at_once(generator: Engine, chat: Chat) -> None:
    prompt = await generator.render(chat)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(sample(generator, prompt, Sampling(max_tokens=20, seed=10 * i), n=4))
            for i in range(16)
        ]
    alone = await sample(generator, prompt, Sampling(max_tokens=20, seed=30), n=4)
    assert [c.index for c in tasks[3].result()] == [0, 1, 2, 3]
    assert [c.text for c in tasks[3].result()] == [c.text for c in alone]
