"""vLLM, or any OpenAI-compatible server, over HTTP as a `Generator`.

A vLLM server is spoken to in token ids (`/tokenize`, then `/v1/completions`), so that nothing is tokenised
twice and a continued prefix hits its cache. Other servers get chats (`/v1/chat/completions`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from mull.engines import told
from mull.engines.connection import Connection
from mull.engines.fields import constrained, other_fields, vllm_fields
from mull.engines.prompts import Template, fitting, images_in, text_only, too_long
from mull.engines.sampler import Request, Sampler
from mull.engines.transcript import Transcript
from mull.errors import EngineUnavailable, InvalidRequest, MullError, Unsupported
from mull.types import Chat, Prompt, TokenLogprob, Usage

UNKNOWN_CONTEXT = 2**20
"""Stands for the context of a server that does not tell it: no request is cut at it."""

EVENTS, BESIDE_TOKENS = 16, 100
"""How many events an answer may have, for each token that it may have and beside: some send characters."""

INTERVAL = 8
"""Tokens that vLLM sends at a time where nobody reads along: an event for each costs it more than the token.

An aborted request may so be billed for fewer tokens than it had generated, by one less than these."""

ENDINGS = {"tool_calls": "stop", "function_call": "stop"}
"""Finish reasons that say no more than that the model has ended its answer."""

NO_ID = -1
"""Stands for the id of a token that a server names by its text alone."""


class RemoteGenerator(Sampler):
    """Samples from a model behind an OpenAI-compatible server. Made by `connect`, ended by `close`.

    Answers are always streamed, so that an aborted request is billed for what had come of it. Of the
    alternatives in `logprobs` the protocol has only the texts; their ids are `NO_ID`. Thoughts and tool calls
    that the server has taken apart are written into one text again: see `Transcript`.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        model: str,
        context: int,
        vllm: bool,
        tokenizes: bool,
        images: bool = False,
    ) -> None:
        self.model = model
        self.context = context
        self.continues = vllm
        self.ends: frozenset[int] = frozenset()
        # Others have no health to ask for, only their list of models, which may have a price or a limit.
        self.polled = tokenizes
        self._connection = connection
        self._vllm = vllm
        self._tokenizes = tokenizes
        self._images = images
        self._template = Template(self._rendered, model=model, context=self.context)
        self._texts: dict[int, str] = {}

    @property
    def apart(self) -> bool:
        """Whether the server takes answers apart, of some conversations at least."""
        return self._images or not self._tokenizes

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        context: int | None = None,
        timeout: float = 120.0,
        images: bool = False,
    ) -> RemoteGenerator:
        """Find out what a server is and what it can do.

        Args:
            url: Its address, with or without `/v1`.
            model: The model's name there.
            api_key: Sent as a bearer token, to this server only.
            context: The model's context, where the server does not tell it.
            timeout: Seconds without an answer, or the next part of one, after which it counts as down.
            images: Whether the model takes images; conversations that have some are not sent as token ids.

        Raises:
            EngineUnavailable: it does not answer, or does not serve the model.
        """
        root = url.rstrip("/").removesuffix("/v1")
        connection = Connection(
            root, subject=f"the server of model {model!r}", api_key=api_key, timeout=timeout
        )
        try:
            served = await _served(connection, model)
            vllm = served.get("owned_by") == "vllm"
            length = served.get("max_model_len")
            return cls(
                connection,
                model=model,
                context=context or (length if type(length) is int and length > 0 else UNKNOWN_CONTEXT),
                vllm=vllm,
                tokenizes=vllm and await _tokenizes(connection, model),
                images=images,
            )
        except BaseException:
            await connection.close()
            raise

    async def close(self) -> None:
        """Drop all connections, which aborts what is under way."""
        await self._connection.close()

    async def check(self) -> None:
        """Return while the server is healthy.

        Raises:
            EngineUnavailable: it is not, or does not answer.
        """
        if self._tokenizes:
            await self._connection.get("/health")
        else:
            await _served(self._connection, self.model)

    async def render(self, chat: Chat) -> Prompt:
        """Have the server apply the chat template; a server of unknown make does that when it answers.

        Raises:
            EngineUnavailable: the server does not answer.
            InvalidRequest: the template refuses the chat, or it leaves no room for an answer.
            Unsupported: the chat has parts that the model does not take, or tools that its template hides.
        """
        if (bare := chat.bare) is not None:
            self._require_tokenizer()
            ids = bare.ids or await self.encode(bare.text, special=bare.special)
            return Prompt(chat=chat, ids=fitting(ids, self.context))
        if not self._images:
            text_only(chat)
        if not self._tokenizes or images_in(chat):
            return Prompt(chat=chat)
        return await self._template.prompt(chat)

    async def _rendered(self, chat: Chat) -> tuple[int, ...]:
        own = ("add_generation_prompt", "continue_final_message")
        body = {
            "model": self.model,
            "messages": list(chat.messages),
            "tools": list(chat.tools) or None,
            "add_special_tokens": False,
            "chat_template_kwargs": {name: value for name, value in chat.template.items() if name not in own},
            **{name: chat.template[name] for name in own if name in chat.template},
        }
        try:
            answer = await self._connection.post("/tokenize", body)
        except InvalidRequest as error:
            raise InvalidRequest(f"the messages cannot be rendered: {error}", param="messages") from error
        return self._tokens(answer)

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text put into the answer.

        Raises:
            EngineUnavailable: the server does not answer.
            Unsupported: it cannot continue a partial answer.
        """
        if not self.continues:
            raise Unsupported(f"model {self.model!r} cannot continue a partial answer", param="ttc.strategy")
        if prompt.ids is None:
            return prompt.append(text, ())
        return prompt.append(text, await self.encode(text))

    async def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text; `special` adds the tokenizer's special tokens.

        Raises:
            EngineUnavailable: the server does not answer.
            Unsupported: it does not show its tokenizer.
        """
        self._require_tokenizer()
        body = {"model": self.model, "prompt": text, "add_special_tokens": special}
        return self._tokens(await self._connection.post("/tokenize", body))

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens written out.

        Raises:
            EngineUnavailable: the server does not answer.
            Unsupported: it does not show its tokenizer.
        """
        self._require_tokenizer()
        body = {"model": self.model, "tokens": list(ids)}
        return str((await self._connection.post("/detokenize", body)).get("prompt", ""))

    async def _run(self, request: Request) -> AsyncGenerator[None, None]:
        # A prompt without ids is one that only the server can render.
        chats = request.prompt.ids is None
        path, body = self._for_chat(request) if chats else self._for_tokens(request)
        most = body.get("max_tokens") or self.context
        request.begun = True
        request.usage = Usage(prompt=len(request.prompt.ids or ()))
        events, transcript = 0, Transcript() if chats else None
        try:
            async with aclosing(self._connection.events(path, body)) as answer:
                async for event in answer:
                    events += 1
                    if events > EVENTS * most + BESIDE_TOKENS:
                        raise self._strange("its answer does not end")
                    self._update(request, event, transcript, most)
                    yield
            if request.reason is None:
                raise self._strange("its answer ended early")
        except MullError:
            request.begun = events > 0
            raise

    async def _token_text(self, token: int) -> str:
        if not self._tokenizes:
            return ""
        if token not in self._texts:
            self._texts[token] = await self.spell([token])
        return self._texts[token]

    def _for_tokens(self, request: Request) -> tuple[str, dict[str, Any]]:
        ids = request.prompt.ids or ()
        room = self.context - len(ids)
        if room <= 0:
            raise too_long(len(ids), self.context)
        asked = request.sampling.max_tokens
        body = {
            **self._settings(request),
            "prompt": list(ids),
            "max_tokens": room if asked is None else min(asked, room),
            "logprobs": request.sampling.logprobs,
        }
        return "/v1/completions", _set(body)

    def _for_chat(self, request: Request) -> tuple[str, dict[str, Any]]:
        chat, sampling, text = request.prompt.chat, request.sampling, request.prompt.text
        if (text or sampling.step) and not self.continues:
            raise Unsupported(f"model {self.model!r} cannot continue a partial answer", param="ttc.strategy")
        asked = sampling.max_tokens
        body = {
            **self._settings(request),
            "messages": list(chat.messages),
            # All of the context is all the room there is, which only the server can tell.
            "max_tokens": asked if asked is not None and asked < self.context else None,
            "logprobs": None if sampling.logprobs is None else True,
            "top_logprobs": sampling.logprobs or None,
            "tools": list(chat.tools) or None,
            **sampling.form.asked(),
        }
        own = ("add_generation_prompt", "continue_final_message")
        body["chat_template_kwargs"] = {k: v for k, v in chat.template.items() if k not in own} or None
        body |= {name: chat.template[name] for name in own if name in chat.template}
        if text:
            body["messages"] = [*chat.messages, {"role": "assistant", "content": text}]
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        return "/v1/chat/completions", _set(body)

    def _settings(self, request: Request) -> dict[str, Any]:
        """What both kinds of request have in common."""
        sampling = request.sampling
        settings = {
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "stop": request.stops or None,
            "seed": request.seed,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
        }
        if self._vllm:
            own = {
                "include_stop_str_in_output": True,
                "return_token_ids": True,
                "stream_interval": None if request.stream else INTERVAL,
            }
            if request.prompt.ids is None:
                return {**settings, **vllm_fields(sampling.extra), **own}
            if not sampling.form.plain:
                # Marks may be special tokens, which are left out of texts otherwise.
                settings["skip_special_tokens"] = False
            return {**settings, **vllm_fields(constrained(sampling)), **own}
        return {**settings, **other_fields(sampling.extra)}

    def _update(
        self, request: Request, event: Mapping[str, Any], transcript: Transcript | None, most: int
    ) -> None:
        try:
            for choice in told.only(event["choices"]):
                piece = told.text(choice["text"]) if transcript is None else transcript.write(choice["delta"])
                ids = told.ids(choice.get("token_ids"), most - len(request.ids))
                reason = told.reason(choice.get("finish_reason"))
                same = reason is None or ENDINGS.get(reason, reason) == request.reason
                if request.reason is not None and (piece or not same):
                    raise ValueError("more than its end")
                request.text += piece
                request.ids += ids
                # Without ids a piece is taken for a token until the server tells the usage in the end.
                request.usage += Usage(completion=len(ids) if self._vllm else bool(piece))
                if logprobs := choice.get("logprobs"):
                    alternatives = request.sampling.logprobs or 0
                    request.logprobs += (
                        _of_completion(logprobs, ids, alternatives)
                        if transcript is None
                        else _of_chat(logprobs, ids)
                    )
                if reason is not None:
                    request.reason, request.stop = reason, choice.get("stop_reason")
                    if transcript is not None:
                        request.text += transcript.end()
                        request.reason = ENDINGS.get(reason, reason)
            if used := event.get("usage"):
                request.usage = self._usage(used, request.ids)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            why = str(error) if type(error) is ValueError else type(error).__name__
            raise self._strange(f"its answer makes no sense ({why[:100]})") from error

    def _usage(self, used: Mapping[str, Any], ids: Sequence[int]) -> Usage:
        """What the server says that it used: no fewer tokens than it has named."""
        details = used.get("prompt_tokens_details") or {}
        # The context may have been configured smaller than it is.
        most = max(self.context, UNKNOWN_CONTEXT)
        prompt = told.count(used["prompt_tokens"], most, what="prompt tokens")
        completion = told.count(used["completion_tokens"], most, what="tokens")
        cached = told.count(details.get("cached_tokens") or 0, prompt, what="cached tokens")
        return Usage(prompt=prompt, cached=cached, completion=max(completion, len(ids)))

    def _require_tokenizer(self) -> None:
        if not self._tokenizes:
            why = "does not show its tokenizer: it takes conversations only"
            raise Unsupported(f"the server of model {self.model!r} {why}", param="model")

    def _tokens(self, answer: Mapping[str, Any]) -> tuple[int, ...]:
        try:
            return tuple(told.ids(answer["tokens"], len(answer["tokens"])))
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange("it names no tokens") from error

    def _strange(self, what: str) -> EngineUnavailable:
        return EngineUnavailable(f"the server of model {self.model!r} failed: {what}")


def _of_completion(logprobs: Mapping[str, Any], ids: Sequence[int], most: int) -> list[TokenLogprob]:
    found = []
    tops = logprobs.get("top_logprobs") or [{}] * len(ids)
    for id, token, own, top in zip(ids, logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True):
        options = [(text, told.logprob(value)) for text, value in (top or {}).items()]
        ranked = sorted(options, key=lambda option: -option[1])[:most]
        found.append(
            TokenLogprob(
                token=told.text(token),
                id=id,
                logprob=told.logprob(own),
                top=tuple((text, id if text == token else NO_ID, value) for text, value in ranked),
            )
        )
    return found


def _of_chat(logprobs: Mapping[str, Any], ids: Sequence[int]) -> list[TokenLogprob]:
    content = logprobs.get("content") or []
    return [
        TokenLogprob(
            token=told.text(own["token"]),
            id=id,
            logprob=told.logprob(own["logprob"]),
            top=tuple(
                (
                    told.text(option["token"]),
                    id if option["token"] == own["token"] else NO_ID,
                    told.logprob(option["logprob"]),
                )
                for option in own.get("top_logprobs") or ()
            ),
        )
        for own, id in zip(content, ids or [NO_ID] * len(content), strict=True)
    ]


def _set(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


async def _served(connection: Connection, model: str) -> Mapping[str, Any]:
    """What the server says about a model that it serves."""
    listed = (await connection.get("/v1/models")).get("data")
    for served in listed if isinstance(listed, list) else ():
        if isinstance(served, Mapping) and served.get("id") == model:
            return served
    raise EngineUnavailable(f"the server of model {model!r} does not serve it")


async def _tokenizes(connection: Connection, model: str) -> bool:
    """Whether a vLLM server is reached whole, and not only its OpenAI part."""
    try:
        return "tokens" in await connection.post("/tokenize", {"model": model, "prompt": "1"})
    except MullError:
        return False
