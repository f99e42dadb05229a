"""Fields of OpenAI's and vLLM's protocols that ask for nothing here, or for what cannot be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT_ONLY = "this server only generates text"
NOT_RETURNED = "it is not returned"
TEMPLATE = "the model's own chat template is used; give it arguments with chat_template_kwargs"
NO_TRANSFER = "prompts are not shared between engines"
IMAGES_AS_THEY_ARE = "images are passed on as they are"

REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "functions": (([],), "give `tools` instead"),
    "function_call": (("none", "auto"), "give `tool_choice` instead"),
    "modalities": ((["text"],), TEXT_ONLY),
    "audio": ((), TEXT_ONLY),
    "web_search_options": ((), "web search is not supported"),
    "verbosity": (("medium",), "the models have one verbosity"),
    "store": ((False,), "completions are not stored for you here"),
    "use_beam_search": ((False,), 'ask for {"ttc": {"strategy": "beam_search"}} instead'),
    "best_of": ((1,), 'ask for {"ttc": {"strategy": "best_of_n"}} instead'),
    "length_penalty": ((1, 1.0), 'ask for {"ttc": {"strategy": "token_beam_search"}} instead'),
    "echo": ((False,), "the prompt is not repeated"),
    "add_special_tokens": ((False,), "the chat template adds them"),
    "chat_template": ((), TEMPLATE),
    "documents": (([],), TEMPLATE),
    "include_stop_str_in_output": ((False,), "a stop string is no part of an answer"),
    "truncate_prompt_tokens": ((), "prompts are not cut; shorten the messages"),
    "truncation_side": ((), "prompts are not cut; shorten the messages"),
    "watermarking": ((False,), "answers are not marked"),
    "repetition_detection": ((), "give repetition_penalty instead"),
    "logprob_token_ids": (([],), "give top_logprobs instead"),
    "prompt_logprobs": ((), NOT_RETURNED),
    "return_token_ids": ((False,), NOT_RETURNED),
    "return_tokens_as_token_ids": ((False,), NOT_RETURNED),
    "return_token_offsets": ((False,), NOT_RETURNED),
    "return_prompt_text": ((False,), NOT_RETURNED),
    "return_mm_kwargs": ((False,), NOT_RETURNED),
    "routed_experts_prompt_start": ((0,), NOT_RETURNED),
    "media_io_kwargs": (({},), IMAGES_AS_THEY_ARE),
    "mm_processor_kwargs": (({},), IMAGES_AS_THEY_ARE),
    "mm_payload": ((), IMAGES_AS_THEY_ARE),
    "priority": ((0,), "all requests have the same"),
    "request_id": ((), "the server gives each request its id; label yours with metadata"),
    "cache_salt": ((), "the prefix cache is not divided"),
    "kv_transfer_params": ((), NO_TRANSFER),
    "ec_transfer_params": ((), NO_TRANSFER),
    "vllm_xargs": (({},), "there are no extensions that would read them"),
    "stream_interval": ((1,), "text is streamed as it comes"),
}
"""Known but unsupported fields: the values that ask for nothing special, and why no others are allowed."""

HARMLESS = (
    "user",
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "session_id",
)
"""Labels for the caller's own bookkeeping, and hints that can only save time; they change no completion."""
