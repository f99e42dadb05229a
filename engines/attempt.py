"""A request that goes on at another engine when its own has failed."""

from __future__ import annotations

from dataclasses import replace

from mull.engines.fields import constrained
from mull.engines.sampler import Request
from mull.types import Usage


class Attempt:
    """One engine's part in a request. What those before it generated is kept where it can be, and billed.

    Args:
        whole: The request, with what has come of it so far.
        continues: Whether engines can continue a partial answer.
    """

    def __init__(self, whole: Request, *, continues: bool) -> None:
        self._whole = whole
        self._spent = whole.usage if whole.begun else Usage()
        if not whole.begun:
            self.part = whole
            return
        kept = continues and _continues(whole)
        if not kept:
            whole.text, whole.ids, whole.logprobs, whole.content, whole.seen = "", [], [], None, 0
        whole.joined = len(whole.text) or None
        self._text, self._ids, self._logprobs = whole.text, list(whole.ids), list(whole.logprobs)
        prompt, sampling, limit = whole.prompt, whole.sampling, whole.sampling.max_tokens
        self.part = replace(
            whole,
            prompt=prompt.append(whole.text, whole.ids),
            # What was generated counts, be it kept or lost.
            sampling=sampling
            if limit is None
            else replace(sampling, max_tokens=limit - self._spent.completion),
            begun=False,
            text="",
            ids=[],
            logprobs=[],
            usage=Usage(),
            reason=None,
            stop=None,
            joined=None,
        )

    @staticmethod
    def possible(whole: Request, *, continues: bool) -> bool:
        """Whether another engine can go on with a request: what may have been told must stay as it is."""
        limit = whole.sampling.max_tokens
        if limit is not None and whole.usage.completion >= limit:
            return False
        told = whole.stream and whole.text != ""
        return not told or (continues and _continues(whole))

    def join(self) -> None:
        """Put together what there is."""
        whole, part = self._whole, self.part
        if part is whole:
            return
        whole.text = self._text + part.text
        whole.ids = self._ids + part.ids
        whole.logprobs = self._logprobs + part.logprobs
        whole.usage = self._spent + part.usage if part.begun else self._spent
        whole.reason, whole.stop = part.reason, part.stop


def _continues(whole: Request) -> bool:
    """Whether the answer so far can be a prompt: of tokens, with no grammar in which it has a place."""
    if whole.prompt.ids is None or len(whole.ids) != whole.usage.completion or constrained(whole.sampling):
        return False
    # A step delimiter that has begun would not be seen by the next engine.
    step = whole.sampling.step or ""
    return not any(whole.text.endswith(step[:length]) for length in range(1, len(step)))
