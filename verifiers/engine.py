"""The four questions that verifiers put to a vLLM engine. Cancelling one aborts it in the engine."""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mull.errors import InvalidRequest, VerifierUnavailable

if TYPE_CHECKING:
    from mull.engines.supervised import Supervised

_ATTEMPTS = 3
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Tail:
    """Values of a prompt's last tokens; those before were read from the prefix cache and have none."""

    first: int
    """Index of the first token that has a value."""
    values: Sequence[Any]
    """Logits (a row a token), or a log-probability a token."""
    computed: int
    """Prompt tokens that the engine computed."""

    def __getitem__(self, token: int) -> Any:
        return self.values[token - self.first]


class Engine:
    """One verifier's way to its model.

    Args:
        engine: A running vLLM engine: the pooling runner for `classify` and `rows`, else the generate runner.
        name: The verifier, named when the engine fails.
    """

    def __init__(self, engine: Supervised, name: str) -> None:
        self._engine = engine
        self._name = name

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._engine.get_tokenizer()

    @property
    def context(self) -> int:
        """Longest input, in tokens."""
        return int(self._engine.model_config.max_model_len)

    @property
    def labels(self) -> int:
        """How many labels a classifier has."""
        return int(self._engine.model_config.hf_config.num_labels)

    async def check(self) -> None:
        """Ask whether the engine is alive.

        Raises:
            VerifierUnavailable: it is not.
        """
        from vllm.exceptions import VLLMError

        try:
            await self._engine.check_health()
        except VLLMError as error:
            raise self._unavailable(error) from error

    async def classify(self, ids: Sequence[int]) -> tuple[list[float], int]:
        """Logits of a sequence classifier, and how many tokens were computed for them."""
        output = await self._encode(ids, task="classify", use_activation=False)
        return output.outputs.data.tolist(), len(ids) - output.num_cached_tokens

    async def rows(self, ids: Sequence[int], *, fresh: bool = False) -> Tail:
        """Logits of a token classifier, for the tokens that are not in the prefix cache.

        vLLM itself never reads the cache for this task, since callers expect a row for each token.

        Args:
            ids: The prompt.
            fresh: Compute all of them.
        """
        computed = 0
        for _ in range(_ATTEMPTS):
            output = await self._encode(
                ids, task="token_classify", use_activation=False, skip_reading_prefix_cache=fresh
            )
            rows, missing = output.outputs.data, len(ids) - output.num_cached_tokens
            computed += missing
            # A request preempted half-way comes back with rows of both of its runs.
            if len(rows) == missing:
                return Tail(output.num_cached_tokens, rows, computed)
        raise self._unavailable("the engine preempts every request: it is short of cache memory")

    async def logprobs(self, ids: Sequence[int], *, fresh: bool = False) -> Tail:
        """Log-probabilities of the prompt's tokens, for those whose predecessor is not in the cache."""
        output = await self._generate(
            ids,
            prompt_logprobs=0,
            flat_logprobs=True,
            skip_reading_prefix_cache=fresh,
            detokenize=False,
            temperature=0.0,
        )
        first = output.num_cached_tokens + 1
        # Depending on the runner, entries of cached tokens are left out or left as garbage; the end is the
        # same: one entry a token, its own.
        found = output.prompt_logprobs.logprobs[first - len(ids) :] if first < len(ids) else []
        return Tail(first, found, len(ids) - output.num_cached_tokens)

    async def verdict(self, ids: Sequence[int], good: int, bad: int) -> tuple[float, int]:
        """Probability that `good` and not `bad` comes next, and how many tokens were computed for it."""
        output = await self._generate(ids, logprob_token_ids=[good, bad], detokenize=False, temperature=0.0)
        found = output.outputs[0].logprobs[0]
        value = probability(found[good].logprob - found[bad].logprob)
        return value, len(ids) - output.num_cached_tokens

    async def _encode(self, ids: Sequence[int], **params: Any) -> Any:
        from vllm import PoolingParams
        from vllm.inputs import tokens_input

        pooling = PoolingParams(**params)
        return await self._asked(
            lambda: self._engine.encode(tokens_input(list(ids)), pooling, self._request())
        )

    async def _generate(self, ids: Sequence[int], **params: Any) -> Any:
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(max_tokens=1, output_kind=RequestOutputKind.FINAL_ONLY, **params)
        return await self._asked(
            lambda: self._engine.generate(tokens_input(list(ids)), sampling, self._request())
        )

    async def _asked(self, ask: Callable[[], AsyncGenerator[Any, None]]) -> Any:
        """The last output; asked again once of an engine that had died and was started again."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            return await self._last(ask())
        except VerifierUnavailable as error:
            died = self._engine.errored or isinstance(error.__cause__, EngineDeadError)
            if not died or not await self._engine.revived():
                raise
        return await self._last(ask())

    async def _last(self, outputs: AsyncGenerator[Any, None]) -> Any:
        from vllm.exceptions import VLLMClientError, VLLMError

        last = None
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    last = output
        except VLLMClientError as error:
            raise InvalidRequest(f"verifier {self._name!r}: {error}") from error
        except VLLMError as error:
            raise self._unavailable(error.__cause__ or error) from error
        if last is None:
            raise self._unavailable("the engine gave no output")
        return last

    def _unavailable(self, why: object) -> VerifierUnavailable:
        return VerifierUnavailable(
            f"verifier {self._name!r} does not answer: {str(why) or type(why).__name__}", name=self._name
        )

    def _request(self) -> str:
        return f"{self._name}-{next(_serial)}"


def probability(logit: float) -> float:
    """The logistic function, without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))


def share(logits: Sequence[float], label: int) -> float:
    """Softmax probability of one label; of a single logit, its sigmoid."""
    if len(logits) == 1:
        return probability(logits[0])
    top = max(logits)
    return math.exp(logits[label] - top) / math.fsum(math.exp(logit - top) for logit in logits)
