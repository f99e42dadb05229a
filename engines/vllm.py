"""vLLM in this process as a `Generator`."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mull.engines.ending import conclude, stop_position, stop_strings
from mull.engines.prompts import text_only, too_long
from mull.engines.tasks import uninterrupted
from mull.errors import EngineUnavailable, InvalidRequest, MullError, one_of
from mull.types import Chat, Chunk, Completion, Meter, Prompt, Sampling, TokenLogprob, Usage

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from vllm.outputs import RequestOutput
    from vllm.sampling_params import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.output_processor import RequestOutputCollector

EXTRA = frozenset(
    {
        "allowed_token_ids",
        "bad_words",
        "frequency_penalty",
        "ignore_eos",
        "logit_bias",
        "min_tokens",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "structured_outputs",
        "thinking_token_budget",
    }
)
"""vLLM's sampling fields that a request may set beside those of `Sampling`."""

_request_numbers = itertools.count()


class VLLMGenerator:
    """Samples from an engine of `mull.engines.launch`.

    Args:
        engine: A running engine of the generate runner. It stays its owner's to stop.
        model: Name under which the model is served.
    """

    continues = True

    def __init__(self, engine: AsyncLLM, *, model: str) -> None:
        self.model = model
        self.context: int = engine.model_config.max_model_len
        self._engine = engine
        self._defaults: Mapping[str, Any] = engine.model_config.get_diff_sampling_param()
        self._texts: dict[int, str] = {}

    @property
    def running(self) -> int:
        """Requests in the engine that have not ended."""
        return cast(int, self._engine.get_num_unfinished_requests())

    async def check(self) -> None:
        """Do nothing while the engine lives.

        Raises:
            EngineUnavailable: it died.
        """
        if self._engine.errored:
            raise EngineUnavailable(f"the engine of model {self.model!r} died")

    async def render(self, chat: Chat) -> Prompt:
        """Apply the model's chat template, off the event loop.

        Raises:
            InvalidRequest: the template refuses the chat, or it leaves no room for an answer.
            Unsupported: the chat has parts other than text.
        """
        from vllm.renderers import ChatParams, TokenizeParams

        text_only(chat)
        template = {"add_generation_prompt": True, "tools": list(chat.tools) or None, **chat.template}
        try:
            _, (rendered,) = await self._engine.renderer.render_chat_async(
                [[dict(message) for message in chat.messages]],
                ChatParams(chat_template_kwargs=template),
                TokenizeParams(max_total_tokens=self.context, add_special_tokens=False),
            )
        except Exception as error:
            # vLLM counts no further than it must, and for very long texts not even that far.
            if getattr(error, "parameter", None) in ("input_tokens", "input_text"):
                raise too_long(f"at least {self.context + 1}", self.context) from error
            raise InvalidRequest(f"the messages cannot be rendered: {error}", param="messages") from error
        ids = tuple(rendered["prompt_token_ids"])
        if len(ids) >= self.context:
            raise too_long(len(ids), self.context)
        return Prompt(chat=chat, ids=ids)

    async def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of a text, no special tokens added."""
        from vllm.inputs import TextPrompt
        from vllm.renderers import TokenizeParams

        params = TokenizeParams(max_total_tokens=None, add_special_tokens=False)
        prompt = await self._engine.renderer.tokenize_prompt_async(TextPrompt(prompt=text), params)
        return tuple(prompt["prompt_token_ids"])

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        decode = self._engine.get_tokenizer().decode
        return cast(str, await asyncio.to_thread(decode, list(ids), skip_special_tokens=True))

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        """Sample `n` continuations, each a request of its own, so that none waits for another.

        The prompt is computed once; the others read it from the prefix cache.

        Raises:
            EngineUnavailable: the engine died.
            InvalidRequest: vLLM refuses a setting, or the prompt leaves no room.
        """
        params = self._params(prompt, sampling, stream=False)
        finished: asyncio.Queue[asyncio.Task[_Request]] = asyncio.Queue()
        requests: list[_Request] = []
        tasks: list[asyncio.Task[_Request]] = []
        try:
            for index in range(n):
                request = _Request(index)
                requests.append(request)
                await self._submit(request, prompt, params)
                tasks.append(asyncio.create_task(self._receive(request)))
                tasks[-1].add_done_callback(finished.put_nowait)
            for _ in range(n):
                request = (await finished.get()).result()
                yield self._completion(request, prompt, sampling)
        finally:
            for task in tasks:
                task.cancel()
            await self._end(requests, prompt, meter)

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """Sample one continuation; text that may yet turn out to be a stop string is held back.

        Raises:
            EngineUnavailable: the engine died.
            InvalidRequest: vLLM refuses a setting, or the prompt leaves no room.
        """
        params = self._params(prompt, sampling, stream=True)
        hold = max((len(stop) - 1 for stop in sampling.stop), default=0)
        request = _Request(0)
        sent = reported = 0
        try:
            await self._submit(request, prompt, params)
            while not (await self._receive(request)).ended:
                before = prompt.text
                if stop_position(before, request.text, sampling.stop, seen=len(request.text)) is not None:
                    break
                safe = len(request.text) - hold
                if safe > sent:
                    logprobs = _token_logprobs(request, sampling)[reported:]
                    yield Chunk(text=request.text[sent:safe], logprobs=logprobs)
                    sent, reported = safe, reported + len(logprobs)
        finally:
            await self._end([request], prompt, meter)
        completion = self._completion(request, prompt, sampling)
        yield Chunk(
            text=completion.text[sent:], logprobs=completion.logprobs[reported:], completion=completion
        )

    def _params(self, prompt: Prompt, sampling: Sampling, *, stream: bool) -> SamplingParams:
        """The request's settings, else the model's own, as vLLM takes them."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        room = self.context - len(prompt.ids or ())
        if room <= 0:
            raise too_long(len(prompt.ids or ()), self.context)
        settings = dict(self._defaults)
        for name in ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "logprobs"):
            value = getattr(sampling, name)
            if value is not None:
                settings[name] = value
        settings |= self._extra(sampling.extra)
        settings["max_tokens"] = min(settings.get("max_tokens", room), room)
        try:
            return SamplingParams(
                **settings,
                stop=stop_strings(sampling),
                include_stop_str_in_output=True,
                output_kind=RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY,
                skip_clone=True,
            )
        except Exception as error:
            raise self._mull_error(error) from error

    def _extra(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """The engine's own fields, checked here: a value of a wrong type would kill the engine."""
        for name in extra:
            if name not in EXTRA:
                raise InvalidRequest(f"unknown field {name!r}; known are {one_of(EXTRA)}", param=name)
        fields = {name: value for name, value in extra.items() if value is not None}
        if (form := fields.pop("response_format", None)) is not None and (constraint := _constraint(form)):
            fields["structured_outputs"] = constraint
        if not fields:
            return {}
        try:
            checked = _adapter().validate_python(fields)
        except Exception as error:
            raise self._mull_error(error) from error
        return {name: getattr(checked, name) for name in fields}

    async def _submit(self, request: _Request, prompt: Prompt, params: SamplingParams) -> None:
        from vllm.inputs import tokens_input

        if params.seed is not None:
            params = copy.copy(params)
            params.seed = (params.seed + request.index) % 2**63
        try:
            request.queue = await self._engine.add_request(
                request.id, tokens_input(list(prompt.ids or ())), params
            )
        except Exception as error:
            raise self._mull_error(error) from error

    async def _receive(self, request: _Request) -> _Request:
        """Wait for the next output of a request, which for samples is the last one."""
        assert request.queue is not None
        try:
            request.add(request.queue.get_nowait() or await request.queue.get())
        except Exception as error:
            raise EngineUnavailable(f"the engine of model {self.model!r} failed: {error}") from error
        if request.reason in ("abort", "error"):
            raise EngineUnavailable(
                f"the engine of model {self.model!r} gave up a request ({request.reason})"
            )
        return request

    async def _end(self, requests: Sequence[_Request], prompt: Prompt, meter: Meter | None) -> None:
        """Abort what runs and report what each request cost; vLLM answers an abort with what there is."""
        if unfinished := [request for request in requests if not request.ended]:
            await uninterrupted(self._engine.abort([request.id for request in unfinished]))
        for request in requests:
            request.drain()
            if meter is not None and request.queue is not None:
                meter.add(request.usage(prompt))

    def _completion(self, request: _Request, prompt: Prompt, sampling: Sampling) -> Completion:
        token = self._text(request.ids[-1]) if request.ids else ""
        text, finish = conclude(
            request.text,
            token,
            reason=request.reason or "abort",
            stop=request.stop,
            sampling=sampling,
            before=prompt.text,
        )
        return Completion(
            text=text,
            ids=tuple(request.ids),
            finish=finish,
            index=request.index,
            usage=request.usage(prompt),
            logprobs=_token_logprobs(request, sampling),
        )

    def _text(self, token: int) -> str:
        """The text of one token, kept: few tokens end a step."""
        if token not in self._texts:
            self._texts[token] = self._engine.get_tokenizer().decode([token], skip_special_tokens=True)
        return self._texts[token]

    def _mull_error(self, error: Exception) -> MullError:
        """A failure in vLLM as the request's fault or the engine's."""
        import pydantic
        from vllm.exceptions import VLLMClientError

        if isinstance(error, pydantic.ValidationError):
            fault = error.errors()[-1]
            name = next((str(part) for part in fault["loc"] if part in EXTRA), None)
            return InvalidRequest(f"{name}: {fault['msg']}", param=name)
        if isinstance(error, VLLMClientError | ValueError | TypeError):
            message = str(error.args[0] if error.args else error)
            first, _, _ = message.partition(" ")
            named = first if first in EXTRA or first in Sampling.__dataclass_fields__ else None
            return InvalidRequest(message, param=getattr(error, "parameter", None) or named)
        return EngineUnavailable(f"the engine of model {self.model!r} failed: {error}")


class _Request:
    """One request in the engine and what has come of it."""

    def __init__(self, index: int) -> None:
        self.id = f"mull-{next(_request_numbers)}"
        self.index = index
        self.queue: RequestOutputCollector | None = None
        self.text = ""
        self.ids: list[int] = []
        self.logprobs: list[Mapping[int, Any]] = []
        self.cached = 0
        self.reason: str | None = None
        self.stop: str | int | None = None
        self.ended = False

    def add(self, output: RequestOutput) -> None:
        part = output.outputs[0]
        self.text += part.text
        self.ids += part.token_ids
        self.logprobs += part.logprobs or ()
        self.cached = output.num_cached_tokens or self.cached
        if output.finished:
            self.ended, self.reason, self.stop = True, part.finish_reason, part.stop_reason

    def drain(self) -> None:
        """Take what the engine has said and nobody has listened to."""
        with contextlib.suppress(Exception):
            while self.queue is not None and (output := self.queue.get_nowait()) is not None:
                self.add(output)

    def usage(self, prompt: Prompt) -> Usage:
        return Usage(prompt=len(prompt.ids or ()), cached=self.cached, completion=len(self.ids))


def _token_logprobs(request: _Request, sampling: Sampling) -> tuple[TokenLogprob, ...]:
    if sampling.logprobs is None:
        return ()
    found = []
    for token, options in zip(request.ids, request.logprobs, strict=True):
        ranked = sorted(options.items(), key=lambda option: option[1].rank)
        top = [
            (option.decoded_token or "", id, option.logprob)
            for id, option in ranked
            if option.rank <= sampling.logprobs
        ]
        own = options[token]
        found.append(
            TokenLogprob(token=own.decoded_token or "", id=token, logprob=own.logprob, top=tuple(top))
        )
    return tuple(found)


def _constraint(form: Any) -> dict[str, Any] | None:
    """OpenAI's `response_format` as vLLM's structured output."""
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"json_object": True}
    schema = form.get("json_schema") if kind == "json_schema" else None
    if isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping):
        return {"json": dict(schema["schema"])}
    raise InvalidRequest(
        "response_format must be of type 'text', 'json_object' or 'json_schema' with a schema",
        param="response_format",
    )


@functools.cache
def _adapter() -> TypeAdapter[SamplingParams]:
    from pydantic import TypeAdapter
    from vllm.sampling_params import SamplingParams

    return TypeAdapter(SamplingParams)
