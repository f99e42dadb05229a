"""From a conversation and an answer to one model's token ids, and which of them carry the judgements."""

from __future__ import annotations

import asyncio
import inspect
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

from mull.engines.prompts import text_only
from mull.errors import InvalidRequest
from mull.types import Candidate, Chat, text_of

T = TypeVar("T")

_OPENING = ("add_generation_prompt", "continue_final_message")
_PROBE = "\u27e6answer\u27e7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """An answer as a verifier's model shall see it."""

    text: str
    marks: tuple[int, ...] = ()
    """Offsets in the text just behind the places to judge, ascending."""
    ids: tuple[int, ...] = ()
    """Its token ids as the policy sampled them, to be used if they spell the text."""
    closed: bool = False
    """Whether the end of the assistant's turn follows it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A passage after its prompt, in token ids."""

    ids: list[int]
    start: int
    """Index of the answer's first token."""
    marks: tuple[int, ...]
    """Index of the token at the end of each mark."""


def sampled_ids(candidate: Candidate) -> tuple[int, ...]:
    """The ids of a candidate's answer as its engine gave them; empty where it gave none."""
    ids, generated = candidate.prompt.ids, candidate.prompt.generated
    return ids[-generated:] if ids is not None and generated else ()


def fingerprint(tokenizer: Any) -> str:
    """A digest that equal tokenizers share: same vocabulary, same cutting of text, same special tokens."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules.pop("truncation", None)
    rules.pop("padding", None)
    return blake2b(json.dumps(rules, sort_keys=True).encode(), digest_size=16).hexdigest()


class Reader:
    """Applies a model's chat template and tokenizer, in a thread of its own.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        limit: Longest input, in tokens.
        template: For models without chat template: the text before the answer, `{question}` standing for the
            last user message. None uses the chat template.
        shared: Whether the ids of candidates come from an equal tokenizer. They are then used as they are
            where they spell the answer token by token, as those of byte-level tokenizers do; the result is
            that of tokenizing the text wherever the policy sampled the usual tokens, and keeps its cuts
            elsewhere.

    Raises:
        ValueError: no chat template and no `template`, or a tokenizer without offsets.
    """

    def __init__(
        self, tokenizer: Any, *, limit: int, template: str | None = None, shared: bool = False
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"{tokenizer.name_or_path}: a verifier needs a fast tokenizer")
        if template is None and not tokenizer.chat_template:
            raise ValueError(f"{tokenizer.name_or_path} has no chat template; set `template`")
        self.fingerprint = fingerprint(tokenizer)
        self.limit = limit
        self.shared = shared
        self._tokenizer = tokenizer
        self._template = template
        self._special = frozenset(tokenizer.all_special_ids)
        self._reserved = frozenset(inspect.signature(tokenizer.apply_chat_template).parameters)
        self._texts: dict[int, str] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        ends = {tokenizer.eos_token_id}
        self._lead = [] if template is None else [i for i in tokenizer("").input_ids if i not in ends]
        self._closing = self._find_closing()

    async def read(self, chat: Chat, passages: Sequence[Passage]) -> list[Reading | None]:
        """Each passage after the conversation; None for one that is too long.

        Raises:
            InvalidRequest: the template refuses the conversation, or it alone is too long.
        """
        return await self._in_thread(lambda: self._read(chat, passages))

    async def render(self, chats: Sequence[Chat], lead: str = "") -> list[list[int] | None]:
        """Ids of whole conversations up to where the model answers, `lead` appended; None where too long."""
        return await self._in_thread(lambda: [self._whole(chat, lead) for chat in chats])

    def token(self, text: str | int) -> int:
        """The id of a token given by its text (or id).

        Raises:
            ValueError: it is not one token.
        """
        if isinstance(text, int):
            return text
        ids = self._encode(text)[0]
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens of {self._tokenizer.name_or_path}, not one")
        return ids[0]

    async def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _whole(self, chat: Chat, lead: str) -> list[int] | None:
        return self._fit(self._encode(self._prompt(chat) + lead)[0])

    def _read(self, chat: Chat, passages: Sequence[Passage]) -> list[Reading | None]:
        prompt = self._prompt(chat)
        prompt_ids = self._lead + self._encode(prompt)[0]
        if len(prompt_ids) >= self.limit:
            raise InvalidRequest(
                f"the conversation has {len(prompt_ids)} tokens; the verifier reads fewer than {self.limit}",
                param="messages",
                code="context_length_exceeded",
            )
        readings = []
        for passage in passages:
            reading = self._reuse(prompt_ids, passage) or self._tokenize(prompt, passage)
            readings.append(reading if self._fit(reading.ids) else None)
        return readings

    def _reuse(self, prompt_ids: list[int], passage: Passage) -> Reading | None:
        """The sampled ids after the prompt's, if they spell the text."""
        if not self.shared or not passage.ids:
            return None
        ids = list(passage.ids)
        while ids and ids[-1] in self._special:
            ids.pop()
        texts = [self._spell(i) for i in ids]
        if "" in texts or "".join(texts) != passage.text:
            return None
        starts, offset = [], 0
        for text in texts:
            starts.append(offset)
            offset += len(text)
        start = len(prompt_ids)
        marks = tuple(start + bisect_left(starts, mark) - 1 for mark in passage.marks)
        closing = self._encode(self._closing)[0] if passage.closed else []
        return Reading(prompt_ids + ids + closing, start, marks)

    def _tokenize(self, prompt: str, passage: Passage) -> Reading:
        """Prompt and passage as one text: tokens may span the border."""
        ids, starts = self._encode(prompt + passage.text + (self._closing if passage.closed else ""))
        lead, border = len(self._lead), len(prompt)
        marks = tuple(lead + bisect_left(starts, border + mark) - 1 for mark in passage.marks)
        return Reading(self._lead + ids, lead + bisect_left(starts, border), marks)

    def _spell(self, token: int) -> str:
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return text

    def _encode(self, text: str) -> tuple[list[int], list[int]]:
        """Ids, and the offset at which each begins."""
        try:
            found = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        except TypeError as error:  # the tokenizer's word for a string with half a surrogate pair
            raise InvalidRequest("the text is not valid Unicode", param="messages") from error
        return found.ids, [begin for begin, _ in found.offsets]

    def _fit(self, ids: list[int]) -> list[int] | None:
        return ids if len(ids) <= self.limit else None

    def _prompt(self, chat: Chat) -> str:
        if self._template is not None:
            return self._template.replace("{question}", chat.question)
        opened = bool(chat.template.get("continue_final_message"))
        return self._apply(chat, continue_final_message=opened, add_generation_prompt=not opened)

    def _apply(self, chat: Chat, **how: bool) -> str:
        text_only(chat)
        settings = {name: value for name, value in chat.template.items() if name not in _OPENING}
        if reserved := self._reserved & settings.keys():
            raise InvalidRequest(
                f"{min(reserved)} is no argument of the chat template", param="chat_template_kwargs"
            )
        messages = [
            {**m, "content": text_of(m["content"])} if m.get("content") else dict(m) for m in chat.messages
        ]
        tools = [dict(tool) for tool in chat.tools] or None
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, **how, **settings
            )
        except Exception as error:  # templates raise whatever their authors chose
            raise InvalidRequest(
                f"the verifier's chat template refuses the conversation: {error}", param="messages"
            ) from error
        return rendered

    def _find_closing(self) -> str:
        """What the chat template puts behind an assistant's message."""
        if self._template is not None:
            return ""
        turns = ({"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE})
        return self._apply(Chat(messages=turns), add_generation_prompt=False).rpartition(_PROBE)[2]
