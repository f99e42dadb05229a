"""Continuing an answer with a token that the model had in mind but did not sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mull.run import Run
from mull.types import Candidate, Completion, Finish, Sampling, TokenLogprob

Option = tuple[str, int, float]
"""An alternative at a position: token, id, log-probability."""

_PIECE = "\N{REPLACEMENT CHARACTER}"
"""What engines show for a token that is not a whole character."""


def watched(sampling: Sampling, alternatives: int, **changes: Any) -> Sampling:
    """The sampling with at least so many alternatives reported for each token."""
    return replace(sampling, logprobs=max(alternatives, sampling.logprobs or 0), **changes)


def options(at: TokenLogprob) -> list[Option]:
    """What could have come at a position, most likely first: each possible token with an id, once.

    Pieces of a character, which have no text of their own, are left out unless sampled.
    """
    found: dict[int, Option] = {}
    for option in (*at.top, (at.token, at.id, at.logprob)):
        whole = _PIECE not in option[0] or option[1] == at.id
        if whole and option[1] >= 0 and option[2] > -math.inf:
            found.setdefault(option[1], option)
    return sorted(found.values(), key=lambda option: -option[2])


def turned(
    run: Run, origin: Candidate, head: Sequence[TokenLogprob], at: TokenLogprob, option: Option, **data: Any
) -> Candidate:
    """`origin` continued by some tokens and then by another one than was sampled there.

    It costs nothing: the tokens before it have been paid for, and nobody generated it. It ends the answer
    where it is an end-of-sequence token or completes a stop string.

    Args:
        run: The run, whose trace gets a node for it.
        origin: What to continue.
        head: Tokens sampled after it.
        at: The position of the other token.
        option: That token.
        **data: What the trace should say of it.
    """
    token, id, logprob = option
    finish: Finish = "step"
    text = "".join(t.token for t in head)
    if id in run.ends:
        finish = "stop"
    else:
        text += token
        cut = _stop(origin.text, text, run.task.sampling.stop)
        if cut is not None:
            text, finish = text[:cut], "stop"
    ids = () if origin.prompt.ids is None else (*(t.id for t in head), id)
    return Candidate(
        prompt=origin.prompt.extend(Completion(text=text, ids=ids, finish=finish)),
        steps=(*origin.steps, text),
        finish=finish,
        node=run.mark("turn", text, parent=origin.node, logprob=round(logprob, 4), **data),
        tokens=origin.tokens + len(head) + 1,
        logprobs=(
            *origin.logprobs,
            *head,
            TokenLogprob(token=token, id=id, logprob=logprob, top=at.top),
        ),
    )


def _stop(before: str, text: str, stops: Sequence[str]) -> int | None:
    """Where in `text` the first stop string begins; one that begins in the text before it does so at 0."""
    whole = before + text
    found = (whole.find(stop, max(0, len(before) - len(stop) + 1)) for stop in stops)
    positions = [max(0, at - len(before)) for at in found if at >= 0]
    return min(positions, default=None)
