"""vLLM in this process as a `Generator`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from mull.engines.fields import VLLM, constrained, vllm_fields
from mull.engines.prompts import Template, fitting, text_only, too_long
from mull.engines.sampler import Request, Sampler
from mull.engines.tasks import uninterrupted
from mull.errors import EngineUnavailable, InvalidRequest, MullError
from mull.types import Chat, Prompt, Sampling, TokenLogprob, Usage

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from vllm.outputs import RequestOutput
    from vllm.sampling_params import SamplingParams

    from mull.engines.supervised import Supervised

_numbers = itertools.count()


class VLLMGenerator(Sampler):
    """Samples from an engine of `mull.engines.launch`.

    The samples of one call compute their prompt once: the others read it from the prefix cache.

    Args:
        engine: A running engine of the generate runner. It stays its owner's to stop.
        model: Name under which the model is served.
    """

    continues = True

    def __init__(self, engine: Supervised, *, model: str) -> None:
        self.model = model
        self.context: int = engine.model_config.max_model_len
        self._engine = engine
        self.ends = _ends(engine)
        self._defaults: Mapping[str, Any] = engine.model_config.get_diff_sampling_param()
        self._texts: dict[int, str] = {}
        self._template = Template(self._rendered, model=model, context=self.context)

    @property
    def running(self) -> int:
        """Requests in the engine that have not ended."""
        return cast(int, self._engine.get_num_unfinished_requests())

    async def check(self) -> None:
        """Return while the engine lives.

        Raises:
            EngineUnavailable: it died.
        """
        if self._engine.errored:
            raise EngineUnavailable(f"the engine of model {self.model!r} died")

    async def render(self, chat: Chat) -> Prompt:
        """Apply the model's chat template, off the event loop.

        Raises:
            InvalidRequest: the template refuses the chat, or it leaves no room for an answer.
            Unsupported: the chat has parts other than text, or tools that the template does not show.
        """
        if (bare := chat.bare) is not None:
            longest = self.context * self._engine.get_tokenizer().max_chars_per_token
            if bare.ids is None and len(bare.text) > longest:
                # Tokenizing what cannot fit would hold up everybody's prompts for seconds.
                raise too_long(f"at least {self.context + 1}", self.context, what="prompt")
            ids = bare.ids or await self.encode(bare.text, special=bare.special)
            return Prompt(chat=chat, ids=fitting(ids, self.context))
        text_only(chat)
        return await self._template.prompt(chat)

    async def _rendered(self, chat: Chat) -> tuple[int, ...]:
        from vllm.renderers import ChatParams, TokenizeParams

        # As text, since vLLM then looks at its length before it tokenizes.
        own = {"add_generation_prompt": True, "tools": list(chat.tools) or None}
        template = {**own, **chat.template, "tokenize": False}
        try:
            _, (rendered,) = await self._engine.renderer.render_chat_async(
                [[dict(message) for message in chat.messages]],
                ChatParams(chat_template_kwargs=template),
                TokenizeParams(max_total_tokens=self.context, add_special_tokens=False),
            )
        except TimeoutError as error:
            raise EngineUnavailable(f"model {self.model!r} did not render the messages in time") from error
        except Exception as error:
            await self.check()  # what it renders with ends with the engine
            # vLLM counts no further than it must, and for very long texts not even that far.
            if getattr(error, "parameter", None) in ("input_tokens", "input_text"):
                raise too_long(f"at least {self.context + 1}", self.context) from error
            raise InvalidRequest(f"the messages cannot be rendered: {error}", param="messages") from error
        return tuple(rendered["prompt_token_ids"])

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text put into the answer."""
        return prompt.append(text, await self.encode(text))

    async def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """The token ids of a text; `special` adds the tokenizer's special tokens."""
        from vllm.inputs import TextPrompt
        from vllm.renderers import TokenizeParams

        params = TokenizeParams(max_total_tokens=None, add_special_tokens=special)
        try:
            prompt = await self._engine.renderer.tokenize_prompt_async(TextPrompt(prompt=text), params)
        except Exception:
            await self.check()
            raise
        return tuple(prompt["prompt_token_ids"])

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        decode = self._engine.get_tokenizer().decode
        return cast(str, await asyncio.to_thread(decode, list(ids), skip_special_tokens=True))

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens written out.

        Raises:
            InvalidRequest: the tokenizer has no such token.
        """
        tokenizer = self._engine.get_tokenizer()
        if (largest := max(ids, default=0)) > tokenizer.max_token_id:
            raise InvalidRequest(
                f"{largest} is no token of model {self.model!r}; the last one is {tokenizer.max_token_id}",
                param="tokens",
            )
        return await asyncio.to_thread(tokenizer.decode, list(ids), skip_special_tokens=False)

    async def _run(self, request: Request) -> AsyncGenerator[None, None]:
        from vllm.inputs import tokens_input

        name = f"mull-{next(_numbers)}"
        ids = list(request.prompt.ids or ())
        try:
            queue = await self._engine.add_request(
                name, tokens_input(ids), self._params(request), priority=request.sampling.priority
            )
        except Exception as error:
            raise self._mull_error(error) from error
        request.begun, request.usage = True, Usage(prompt=len(ids))
        try:
            while request.reason is None:
                _update(request, queue.get_nowait() or await queue.get())
                if request.reason in ("abort", "error"):
                    raise EngineUnavailable(f"the engine of model {self.model!r} gave up: {request.reason}")
                yield
        except MullError:
            raise
        except Exception as error:
            raise self._mull_error(error) from error
        finally:
            if request.reason is None:
                await uninterrupted(self._engine.abort(name))
                # The answer to an abort is what had been generated by then.
                with contextlib.suppress(Exception):
                    while (output := queue.get_nowait()) is not None:
                        _update(request, output)

    async def _token_text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._engine.get_tokenizer().decode([token], skip_special_tokens=False)
        return self._texts[token]

    def _params(self, request: Request) -> SamplingParams:
        """The request's settings, else the model's own, as vLLM takes them."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        sampling = request.sampling
        room = self.context - len(request.prompt.ids or ())
        if room <= 0:
            raise too_long(self.context - room, self.context)
        settings = dict(self._defaults)
        for name in ("max_tokens", "temperature", "top_p", "top_k", "min_p", "logprobs"):
            value = getattr(sampling, name)
            if value is not None:
                settings[name] = value
        if not sampling.form.plain:
            # Marks may be special tokens, which are left out of texts otherwise.
            settings["skip_special_tokens"] = False
        settings |= _checked(constrained(sampling))
        settings["max_tokens"] = min(settings.get("max_tokens", room), room)
        return SamplingParams(
            **settings,
            seed=request.seed,
            stop=request.stops,
            include_stop_str_in_output=True,
            output_kind=RequestOutputKind.DELTA if request.stream else RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _mull_error(self, error: Exception) -> MullError:
        """A failure in vLLM as the request's fault or the engine's."""
        import pydantic
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(error, MullError):
            return error
        if isinstance(error, EngineDeadError):
            return EngineUnavailable(f"the engine of model {self.model!r} died")
        if isinstance(error, pydantic.ValidationError):
            fault = error.errors()[-1]
            name = next((str(part) for part in fault["loc"] if part in VLLM), None)
            return InvalidRequest(f"{name}: {fault['msg']}", param=name)
        if isinstance(error, VLLMClientError | ValueError | TypeError):
            message = str(error.args[0] if error.args else error)
            first, _, _ = message.partition(" ")
            named = first if first in VLLM or first in Sampling.__dataclass_fields__ else None
            return InvalidRequest(message, param=getattr(error, "parameter", None) or named)
        return EngineUnavailable(f"the engine of model {self.model!r} failed: {error}")


def _ends(engine: Supervised) -> frozenset[int]:
    """The tokenizer's end of sequence and those of the model's generation config."""
    config = engine.model_config.try_get_generation_config()
    told = config.get("eos_token_id")
    also = told if isinstance(told, list) else [told]
    return frozenset(id for id in (engine.get_tokenizer().eos_token_id, *also) if id is not None)


def _update(request: Request, output: RequestOutput) -> None:
    part = output.outputs[0]
    request.text += part.text
    request.ids += part.token_ids
    if part.logprobs:
        request.logprobs += _token_logprobs(part.token_ids, part.logprobs, request.sampling.logprobs or 0)
    request.usage = Usage(
        prompt=request.usage.prompt,
        cached=output.num_cached_tokens or request.usage.cached,
        completion=len(request.ids),
    )
    if output.finished:
        request.reason, request.stop = part.finish_reason, part.stop_reason


def _token_logprobs(
    ids: Sequence[int], options: Sequence[Mapping[int, Any]], most: int
) -> list[TokenLogprob]:
    found = []
    for token, at_token in zip(ids, options, strict=True):
        ranked = sorted(at_token.items(), key=lambda option: option[1].rank)
        top = tuple((o.decoded_token or "", id, o.logprob) for id, o in ranked if o.rank <= most)
        own = at_token[token]
        found.append(TokenLogprob(token=own.decoded_token or "", id=token, logprob=own.logprob, top=top))
    return found


def _checked(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's own fields, their types checked here: a wrong one would kill the engine."""
    fields = vllm_fields(extra)
    if (form := fields.pop("response_format", None)) is not None and (constraint := _constraint(form)):
        fields["structured_outputs"] = constraint
    if not fields:
        return {}
    checked = _adapter().validate_python(fields)
    return {name: getattr(checked, name) for name in fields}


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
