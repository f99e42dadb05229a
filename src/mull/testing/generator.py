"""An engine that follows a script: real token ids, real accounting, chosen timing and failures."""

from __future__ import annotations

import asyncio
import math
import random
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mull.errors import EngineUnavailable, InvalidRequest, Unsupported
from mull.testing.world import Dialogue, Odds, Script
from mull.types import Chat, Chunk, Completion, Finish, Meter, Prompt, Sampling, TokenLogprob, Usage, text_of

END = 0
"""The id of the end-of-sequence token; all other ids are the code points of single characters."""
_BLOCK = 16


class ScriptedGenerator:
    """Implements `mull.protocols.Generator` over a script, one token a character.

    With a seed in the sampling, sample `i` of a prompt depends on the script, the prompt, and `seed + i`
    alone; without one, on the generator's own seed and the order of calls.

    Time is virtual: requests advance by turns of the event loop, so a test runs at full speed whatever it
    asks for. Each request finishes after one to `spread` turns, drawn from `order`: other values of `order`
    permute the finishing order without changing what is generated.

    Args:
        script: What the model would write; a `Dialogue` is asked anew for each conversation.
        model: Name under which it is served.
        context: Longest prompt plus completion, in tokens.
        continues: Whether it gives token ids and continues partial answers.
        seed: Of the samples of requests that bring no seed.
        order: Seed of the finishing order; None lets all finish in the order of their index.
        spread: Most turns that a request takes.
        fail_after: Number of calls after which the engine is gone: the next one starts, and fails.
        pause: Awaited at each turn, to hold or slow the engine; by default a bare turn of the event loop.
        sure: Probability of a token, from the answer's text up to and with it; the alternatives that it
            reports share the rest in equal parts. By default all tokens are reported alike.
        talk: The script of each conversation, in place of `script`; pure.
    """

    def __init__(
        self,
        script: Script,
        *,
        model: str = "scripted",
        context: int = 4096,
        continues: bool = True,
        seed: int = 0,
        order: int | None = None,
        spread: int = 8,
        fail_after: int | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
        sure: Callable[[str], float] | None = None,
        talk: Callable[[Chat], Script] | None = None,
    ) -> None:
        self.model = model
        self.continues = continues
        self.context = context
        self.ends = frozenset({END}) if continues else frozenset[int]()
        self.calls = 0
        """Calls of `sample` and `stream` so far."""
        self.in_flight = 0
        """Requests that have started and not ended."""
        self.usage = Usage()
        """What all requests cost, as reported to their meters."""
        self.seen: list[Sampling] = []
        """The sampling of each call."""
        self._script = script
        self._rng = random.Random(seed)
        self._order = None if order is None else random.Random(order)
        self._spread = spread
        self._fail_after = fail_after
        self._pause = pause
        self._sure = sure
        self._talk = script.about if talk is None and isinstance(script, Dialogue) else talk
        self._cache: set[int] = set()

    async def render(self, chat: Chat) -> Prompt:
        """The messages' text, or the prompt as it is; refused when it leaves no room in the context."""
        bare = chat.bare
        text = (
            "".join(f"{m.get('role')}: {text_of(m.get('content'))}\n" for m in chat.messages) + "assistant: "
            if bare is None
            else bare.text
        )
        if len(text) >= self.context:
            raise InvalidRequest(
                f"the prompt has {len(text)} tokens, the context {self.context}",
                param="messages" if bare is None else "prompt",
                code="context_length_exceeded",
            )
        return Prompt(chat=chat, ids=await self.encode(text) if self.continues else None)

    async def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """The characters' code points; there are no special tokens to add."""
        self._require_tokens()
        return encode(text)

    async def spell(self, ids: Sequence[int]) -> str:
        """The characters with these code points.

        Raises:
            InvalidRequest: some are no characters.
        """
        self._require_tokens()
        for id in ids:
            if id != END and (id > sys.maxunicode or 0xD800 <= id < 0xE000):
                raise InvalidRequest(f"{id} is no token of model {self.model!r}", param="tokens")
        return decode(ids)

    async def append(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with the text's characters as its tokens."""
        if not self.continues:
            raise Unsupported("the scripted engine cannot continue a partial answer", param="ttc.strategy")
        return prompt.append(text, encode(text))

    async def sample(
        self, prompt: Prompt, sampling: Sampling, *, n: int = 1, meter: Meter | None = None
    ) -> AsyncGenerator[Completion, None]:
        """Completions in the drawn finishing order."""
        fails = self._begin(sampling)
        drawn = [self._complete(prompt, sampling, i) for i in range(n)]
        turns = [1 + i if self._order is None else self._order.randint(1, self._spread) for i in range(n)]
        pending = {c.index: (turn, c) for turn, c in zip(turns, drawn, strict=True)}
        self.in_flight += n
        turn = 0
        try:
            while pending:
                await self._turn()
                turn += 1
                if fails:
                    raise EngineUnavailable("the scripted engine is gone")
                for index, (due, completion) in sorted(
                    pending.items(), key=lambda item: (item[1][0], item[0])
                ):
                    if due <= turn:
                        del pending[index]
                        self._end(completion.usage, meter)
                        yield completion
        finally:
            for due, completion in pending.values():
                self._end(_part(completion.usage, turn / due), meter)

    async def stream(
        self, prompt: Prompt, sampling: Sampling, *, meter: Meter | None = None
    ) -> AsyncGenerator[Chunk, None]:
        """The completion, a token a turn."""
        fails = self._begin(sampling)
        completion = self._complete(prompt, sampling, 0)
        self.in_flight += 1
        text, logprobs, spent = completion.text, completion.logprobs, 0
        try:
            for at in range(max(1, len(text))):
                await self._turn()
                if fails:
                    raise EngineUnavailable("the scripted engine is gone")
                spent = at + 1
                if spent < len(text):
                    yield Chunk(text=text[at], logprobs=logprobs[at : at + 1])
            # What has no text of its own (the end of sequence, a stop string) comes with the last chunk.
            spent, last = completion.usage.completion, max(0, len(text) - 1)
            yield Chunk(text=text[last:], logprobs=logprobs[last:], completion=completion)
        finally:
            self._end(replace(completion.usage, completion=spent), meter)

    def _begin(self, sampling: Sampling) -> bool:
        self.calls += 1
        self.seen.append(sampling)
        return self._fail_after is not None and self.calls > self._fail_after

    def _end(self, usage: Usage, meter: Meter | None) -> None:
        self.in_flight -= 1
        self.usage += usage
        if meter is not None:
            meter.add(usage)

    async def _turn(self) -> None:
        await (asyncio.sleep(0) if self._pause is None else self._pause())

    def _complete(self, prompt: Prompt, sampling: Sampling, index: int) -> Completion:
        path = prompt.text
        if prompt.ids is not None and decode(prompt.ids[len(prompt.ids) - prompt.generated :]) != path:
            raise ValueError("the ids and the text of a prompt disagree")
        seed = self._rng.getrandbits(64) if sampling.seed is None else sampling.seed + index
        rng = random.Random(repr((seed, prompt.chat.question, path)))
        script = self._script if self._talk is None else self._talk(prompt.chat)
        written = script(path, rng, sampling)
        text, ids, finish = _cut(written, sampling, self._room(prompt, sampling))
        cached = self._cached(prompt.ids or ())
        return Completion(
            text=text,
            ids=ids if prompt.ids is not None else (),
            finish=finish,
            index=index,
            usage=Usage(prompt=self._length(prompt), cached=cached, completion=len(ids)),
            logprobs=()
            if sampling.logprobs is None
            else self._logprobs(script, path, ids, sampling.logprobs),
        )

    def _logprobs(
        self, script: Script, path: str, ids: Sequence[int], alternatives: int
    ) -> tuple[TokenLogprob, ...]:
        found = []
        for token in ids:
            before, path = path, path + decode((token,))
            odds = script.odds(before) if isinstance(script, Odds) else {}
            if odds:
                found.append(_by_odds(token, alternatives, odds))
            else:
                sure = None if self._sure is None else self._sure(path)
                found.append(_logprob(token, alternatives, sure))
        return tuple(found)

    def _require_tokens(self) -> None:
        if not self.continues:
            raise Unsupported("the scripted engine shows no tokens", param="model")

    def _length(self, prompt: Prompt) -> int:
        if prompt.ids is not None:
            return len(prompt.ids)
        return sum(len(text_of(m.get("content"))) for m in prompt.chat.messages)

    def _room(self, prompt: Prompt, sampling: Sampling) -> int:
        room = self.context - self._length(prompt)
        return room if sampling.max_tokens is None else min(room, sampling.max_tokens)

    def _cached(self, ids: Sequence[int]) -> int:
        """Tokens of whole blocks that an earlier prompt shares; the last token is always computed."""
        key, cached, hit = 0, 0, True
        for end in range(_BLOCK, len(ids), _BLOCK):
            key = hash((key, tuple(ids[end - _BLOCK : end])))
            hit = hit and key in self._cache
            cached = end if hit else cached
            self._cache.add(key)
        return cached


def encode(text: str) -> tuple[int, ...]:
    """The token ids of a text."""
    return tuple(map(ord, text))


def decode(ids: Sequence[int]) -> str:
    """The text of token ids; the end of sequence has none."""
    return "".join(chr(i) for i in ids if i != END)


@dataclass(frozen=True)
class _Cut:
    """A place where generation ends: after `tokens` tokens, of which `text` characters are the result."""

    tokens: int
    text: int
    finish: Finish


def _cut(written: str, sampling: Sampling, room: int) -> tuple[str, tuple[int, ...], Finish]:
    """What is generated of a script's text under stop strings, step delimiter and token limit."""
    ids = (*encode(written), END)
    cuts = [_Cut(len(ids), len(written), "stop")]
    found = ((stop, written.find(stop)) for stop in sampling.stop)
    cuts += [_Cut(at + len(stop), at, "stop") for stop, at in found if at >= 0]
    if sampling.step is not None and (at := written.find(sampling.step)) >= 0:
        end = at + len(sampling.step)
        cuts.append(_Cut(end, end, "step"))
    first = min(cuts, key=lambda c: c.tokens)
    if first.tokens > room:
        first = _Cut(room, room, "length")
    return written[: first.text], ids[: first.tokens], first.finish


def _part(usage: Usage, share: float) -> Usage:
    return replace(usage, completion=min(usage.completion, int(usage.completion * share)))


def _logprob(token: int, alternatives: int, probability: float | None = None) -> TokenLogprob:
    text = decode((token,))
    own = -0.1 if probability is None else math.log(probability)
    others = [
        -0.1 - k if probability is None else math.log((1 - probability) / (alternatives - 1))
        for k in range(1, alternatives)
    ]
    top = [(text, token, own), *((chr(ord("a") + k), ord("a") + k, p) for k, p in enumerate(others, 1))]
    return TokenLogprob(token=text, id=token, logprob=own, top=tuple(top[:alternatives]))


def _by_odds(token: int, alternatives: int, odds: Mapping[str, float]) -> TokenLogprob:
    """A token among the characters that its script finds possible, the likeliest first."""
    text = decode((token,))
    told = {each: math.log(p) for each, p in odds.items() if p > 0}
    top = sorted(((each, ord(each), p) for each, p in told.items()), key=lambda t: -t[2])[:alternatives]
    return TokenLogprob(token=text, id=token, logprob=told.get(text, -math.inf), top=tuple(top))
