"""Where a completion ends: at a stop string, at the step delimiter, or between the two.

Engines stop at the first string that completes, cut the text behind it and keep every token id. A step is
continued from its ids, so its text must be what the ids say; an answer must end before its stop string, also
before one that began in an earlier step.
"""

from __future__ import annotations

from collections.abc import Sequence

from mull.form import Thoughts
from mull.types import Finish, Sampling


def stop_strings(sampling: Sampling) -> list[str]:
    """What the engine is to stop at, included in its text; on a tie the first one wins."""
    step = [sampling.step] if sampling.step and sampling.step not in sampling.stop else []
    return [*sampling.stop, *step]


def conclude(
    text: str,
    token: str,
    *,
    previous: str = "",
    reason: str | None,
    stop: str | int | None,
    sampling: Sampling,
    before: str,
    searched: int | None = None,
) -> tuple[str, Finish]:
    """The text and finish of an ended completion.

    Args:
        text: What the engine generated, cut behind the string it stopped at.
        token: The text of the last token alone.
        previous: The text of the tokens before it, at least as long as the delimiter or all there are.
        reason: The engine's finish reason; None for an aborted one.
        stop: The string or token id it stopped at; None for the end of sequence.
        sampling: What was asked for.
        before: The answer's text before this completion.
        searched: How much of the text the engine has searched itself; None for all of it.
    """
    finish: Finish = "stop" if reason == "stop" else "length"
    whole = text
    if finish == "stop" and isinstance(stop, str) and stop == sampling.step and stop not in sampling.stop:
        whole, finish = text + beyond(text, token, previous), "step"
    elif finish == "stop":
        whole = text.removesuffix(stop if isinstance(stop, str) else token)
    seen = len(text) if searched is None else searched
    position = stop_position(before, whole, sampling.stop, seen=seen)
    return (whole, finish) if position is None else (whole[:position], "stop")


def content_start(text: str, thoughts: Thoughts, *, seen: int = 0) -> int | None:
    """Where in an answer its content begins; None while the model thinks, or may begin to.

    Args:
        text: The answer so far.
        thoughts: How thoughts are marked.
        seen: How much of it was found to be thoughts before.
    """
    begun = text.lstrip()
    if not thoughts.opened and not begun.startswith(thoughts.open):
        return None if thoughts.open.startswith(begun) else 0
    closed = text.find(thoughts.close, max(0, seen - len(thoughts.close)))
    return None if closed < 0 else closed + len(thoughts.close)


def beyond(text: str, token: str, previous: str = "") -> str:
    r"""What a last token holds behind the delimiter at which the engine cut the text.

    A delimiter like `\n\n` may have been completed by the first or by the last of a token's characters;
    what stands before the token tells.

    Args:
        text: The completion's text, ending in the delimiter.
        token: The text of its last token, in which the delimiter was completed.
        previous: The text of the tokens before it, as far back as the delimiter is long.
    """
    ends = overlaps(text, token)
    fitting = [end for end in ends if _follows(text[: len(text) - end], previous)]
    return token[(fitting or ends or [len(token)])[0] :]


def overlaps(text: str, token: str) -> list[int]:
    """How many characters of a token can be the end of a text, most first."""
    return [end for end in range(len(token), 0, -1) if text.endswith(token[:end])]


def _follows(head: str, previous: str) -> bool:
    return head.endswith(previous) or (previous.endswith(head) and bool(head))


def stop_position(before: str, text: str, stops: Sequence[str], *, seen: int) -> int | None:
    """Where in `text` the first stop string begins that the engine could not see; None without one.

    Args:
        before: The answer's text before this completion. A stop string that begins there counts as beginning
            at 0.
        text: The completion's text.
        stops: The stop strings.
        seen: How much of `text` the engine has searched itself.
    """
    ends: list[tuple[int, int]] = []
    for stop in stops:
        tail = before[max(0, len(before) - len(stop) + 1) :]
        across = (tail + text[: len(stop) - 1]).find(stop)
        if across >= 0:
            ends.append((across - len(tail) + len(stop), 0))
        within = text.find(stop, max(0, seen - len(stop) + 1))
        if within >= 0:
            ends.append((within + len(stop), within))
    return min(ends)[1] if ends else None
