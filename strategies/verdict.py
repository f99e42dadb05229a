"""Verdicts of the model itself, as probabilities: how much more likely one word is than the other.

Kadavath et al. 2022, Language Models (Mostly) Know What They Know, section 3: P(True) is read from the
log-probabilities of the first token of the reply.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from mull.run import Run
from mull.types import Candidate, Chat, Sampling, TokenLogprob

CHECK = "Is this answer correct? Reply Yes or No."
"""The question after an answer; word by word what the bundled policy is trained on."""

GOOD, BAD = "Yes", "No"

_SAMPLING = Sampling(max_tokens=2, temperature=0.0, logprobs=20)
# Two tokens, since some models begin with a blank or an asterisk.

_EDGES = re.compile(r"^[\W_]+|[\W_]+$")


async def verdicts(
    run: Run,
    chats: Sequence[Chat],
    *,
    good: str = GOOD,
    bad: str = BAD,
    under: Sequence[int] | None = None,
) -> list[float | None]:
    """Ask for a verdict at the end of each chat, of equal chats once.

    Args:
        run: What it is asked of.
        chats: Conversations that end in a request for one of two words.
        good: The word whose probability is wanted.
        bad: The other one.
        under: The trace node of each chat, below which its verdict hangs.

    Returns:
        For each chat a probability in [0, 1]; None where the reply has neither of the words, the budget is
        spent or the chat is longer than the context.
    """
    keys = [repr(chat.messages) for chat in chats]
    first: dict[str, int] = {}
    for at, key in enumerate(keys):
        first.setdefault(key, at)
    replies = await run.together(
        [
            run.ask(chats[at], sampling=_SAMPLING, under=None if under is None else under[at], kind="verdict")
            for at in first.values()
        ]
    )
    told = {
        key: verdict(reply[0], good, bad) if reply else None
        for key, reply in zip(first, replies, strict=True)
    }
    return [told[key] for key in keys]


def verdict(reply: Candidate, good: str = GOOD, bad: str = BAD) -> float | None:
    """P(good) / (P(good) + P(bad)) in a reply, over the alternatives to its first token that says something.

    An alternative stands for a word that it begins, whatever its case and the blanks and marks about it, so
    that tokens of single letters or bytes work; one that begins both words, or none, stands for neither.
    Without alternatives (an engine that reports none), the reply's first word decides: 1 or 0.

    Returns:
        None when neither word is there.
    """
    spoken = next((at for at, token in enumerate(reply.logprobs) if _bare(token.token)), None)
    # What follows a word is no verdict; what might have come before it, in place of a blank, is one.
    places = reply.logprobs if spoken is None else reply.logprobs[spoken::-1]
    for token in places:
        value = _share(token, good, bad)
        if value is not None:
            return value
    if any(token.top for token in reply.logprobs):
        return None
    word = next(filter(_bare, reply.text.split()), "")
    side = _side(word, good, bad)
    return None if side is None else float(side)


def _share(token: TokenLogprob, good: str, bad: str) -> float | None:
    """The share of the good word in what both words have at one place; None where both have nothing."""
    if not token.top:
        return None
    told = [(text, logprob) for text, _, logprob in token.top]
    if token.token not in (text for text, _ in told):
        told.append((token.token, token.logprob))
    sided = [(side, logprob) for text, logprob in told if (side := _side(text, good, bad)) is not None]
    most = max((logprob for _, logprob in sided), default=-math.inf)
    if most == -math.inf:
        return None
    weights = [(side, math.exp(logprob - most)) for side, logprob in sided]
    return math.fsum(w for side, w in weights if side) / math.fsum(w for _, w in weights)


def _side(piece: str, good: str, bad: str) -> bool | None:
    """Whether a piece begins the good word; None when it begins neither or both."""
    bare = _bare(piece)
    is_good, is_bad = (bool(bare) and word.casefold().startswith(bare) for word in (good, bad))
    return None if is_good == is_bad else is_good


def _bare(piece: str) -> str:
    return _EDGES.sub("", piece).casefold()
