"""From conversations and answers to token ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mull.errors import InvalidRequest
from mull.types import Chat
from mull.verifiers.reading import Passage, Reader, Reading, fingerprint, sampled_ids

CHAT = Chat(messages=({"role": "user", "content": "What is 2 + 3?"},))
ANSWER = "Add them.\n2 + 3 = 5\nThe answer is \\boxed{5}."
MARKS = (10, 20, len(ANSWER))


async def read(reader: Reader, passage: Passage, chat: Chat = CHAT) -> Reading:
    (reading,) = await reader.read(chat, [passage])
    assert reading is not None
    return reading


@pytest.fixture
def reader(byte_level: Any) -> Reader:
    return Reader(byte_level, limit=512)


@pytest.fixture
def sharing(byte_level: Any) -> Reader:
    return Reader(byte_level, limit=512, shared=True)


async def test_an_answer_follows_the_rendered_conversation(reader: Reader, byte_level: Any) -> None:
    reading = await read(reader, Passage(text=ANSWER))
    rendered = byte_level.apply_chat_template(list(CHAT.messages), add_generation_prompt=True, tokenize=False)
    assert byte_level.decode(reading.ids) == rendered + ANSWER
    assert byte_level.decode(reading.ids[: reading.start]) == rendered


async def test_marks_are_the_tokens_in_which_steps_end(reader: Reader, byte_level: Any) -> None:
    reading = await read(reader, Passage(text=ANSWER, marks=MARKS))
    ends = [byte_level.decode(reading.ids[reading.start : mark + 1]) for mark in reading.marks]
    assert ends == [ANSWER[:end] for end in MARKS]


async def test_a_closed_answer_ends_as_the_template_ends_it(reader: Reader, byte_level: Any) -> None:
    reading = await read(reader, Passage(text=ANSWER, closed=True))
    whole = [*CHAT.messages, {"role": "assistant", "content": ANSWER}]
    assert reading.ids == byte_level.encode(byte_level.apply_chat_template(whole, tokenize=False))


@pytest.mark.parametrize("closed", [False, True])
async def test_sampled_ids_give_what_tokenizing_gives(
    reader: Reader, sharing: Reader, byte_level: Any, closed: bool
) -> None:
    ids = (*byte_level.encode(ANSWER), byte_level.eos_token_id)
    sampled = await read(sharing, Passage(text=ANSWER, marks=MARKS, ids=ids, closed=closed))
    assert sampled == await read(reader, Passage(text=ANSWER, marks=MARKS, closed=closed))


async def test_sampled_ids_keep_an_unusual_cut(sharing: Reader, byte_level: Any) -> None:
    ids = tuple(i for character in ANSWER for i in byte_level.encode(character))
    reading = await read(sharing, Passage(text=ANSWER, marks=MARKS, ids=ids))
    assert tuple(reading.ids[reading.start :]) == ids
    assert reading.marks == tuple(reading.start + mark - 1 for mark in MARKS)


@pytest.mark.parametrize("ids", [(300, 301), (10**6,), (0,)])
async def test_ids_that_do_not_spell_the_text_are_not_used(
    reader: Reader, sharing: Reader, ids: tuple[int, ...]
) -> None:
    assert await read(sharing, Passage(text=ANSWER, ids=ids)) == await read(reader, Passage(text=ANSWER))


async def test_a_character_in_several_tokens(sharing: Reader, byte_level: Any) -> None:
    text = "π ≈ 3\nок"
    ids = tuple(byte_level.encode(text))
    reading = await read(sharing, Passage(text=text, marks=(6, 8), ids=ids))
    assert byte_level.decode(reading.ids[reading.start : reading.marks[0] + 1]) == "π ≈ 3\n"
    assert reading.marks[1] == len(reading.ids) - 1


async def test_an_answer_that_is_too_long_is_none_a_conversation_an_error(byte_level: Any) -> None:
    reader = Reader(byte_level, limit=40)
    short, long = await reader.read(CHAT, [Passage(text="5"), Passage(text="5" * 40)])
    assert (short is None, long is None) == (False, True)
    with pytest.raises(InvalidRequest) as caught:
        await reader.read(Chat(messages=({"role": "user", "content": "5" * 40},)), [Passage(text="5")])
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


async def test_a_text_template_replaces_the_chat_template(byte_level: Any) -> None:
    reader = Reader(byte_level, limit=512, template="{question}{answer} ")
    reading = await read(reader, Passage(text="5", marks=(1,)))
    assert byte_level.decode(reading.ids) == "What is 2 + 3?{answer} 5"
    assert reading.marks == (len(reading.ids) - 1,)


async def test_an_open_assistant_message_is_continued(reader: Reader, byte_level: Any) -> None:
    opened = Chat(
        messages=(*CHAT.messages, {"role": "assistant", "content": "Add"}),
        template={"continue_final_message": True, "add_generation_prompt": False},
    )
    reading = await read(reader, Passage(text=" them."), opened)
    assert byte_level.decode(reading.ids).endswith("<|assistant|>Add them.")


async def test_parts_of_text_are_joined_and_others_refused(reader: Reader) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "2 + 3?"}]
    chat = Chat(messages=({"role": "user", "content": parts},))
    assert await read(reader, Passage(text="5"), chat) == await read(reader, Passage(text="5"))
    image = Chat(messages=({"role": "user", "content": [{"type": "image_url", "image_url": {}}]},))
    with pytest.raises(InvalidRequest, match="image_url"):
        await read(reader, Passage(text="5"), image)


@pytest.mark.parametrize(
    ("chat", "param"),
    [
        (Chat(messages=CHAT.messages, template={"chat_template": "{{ 1 }}"}), "chat_template_kwargs"),
        (Chat(messages=CHAT.messages, template={"max_length": 1}), "chat_template_kwargs"),
        (Chat(messages=({"role": "user", "content": "\ud800"},)), "messages"),
    ],
)
async def test_what_cannot_be_rendered_is_the_requests_fault(reader: Reader, chat: Chat, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await reader.read(chat, [Passage(text="5")])
    assert caught.value.param == param


def test_a_verdict_is_one_token(reader: Reader, byte_level: Any) -> None:
    assert byte_level.decode([reader.token(" Yes")]) == " Yes"
    assert reader.token(17) == 17
    with pytest.raises(ValueError, match="not one"):
        reader.token("Yes, it is")


def test_a_model_without_chat_template_needs_a_template(byte_level: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=byte_level.backend_tokenizer, eos_token="<eos>")
    with pytest.raises(ValueError, match="set `template`"):
        Reader(bare, limit=8)


def test_fingerprints_tell_tokenizers_apart(byte_level: Any, tmp_path: Path) -> None:
    byte_level.save_pretrained(tmp_path)
    loaded = type(byte_level).from_pretrained(tmp_path)
    loaded.chat_template = None
    assert fingerprint(loaded) == fingerprint(byte_level)
    loaded.add_tokens(["<new>"])
    assert fingerprint(loaded) != fingerprint(byte_level)


def test_only_generated_ids_are_the_answers(candidate: Callable[..., Any]) -> None:
    assert sampled_ids(candidate("x", ids=(4, 5))) == (4, 5)
    assert sampled_ids(candidate("x")) == ()
