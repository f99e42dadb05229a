"""The texts in a row, whatever its format."""

from collections.abc import Sequence

from mull.training.data.rows import (
    Message,
    Outcome,
    Preference,
    Rollout,
    Row,
    Sft,
    Stepwise,
    Unpaired,
)


def prompt(row: Row) -> Sequence[Message]:
    """The messages before what is learned or judged; all but the last where a row is a dialogue."""
    if isinstance(row, Sft) and row.messages is not None:
        return row.messages[:-1]
    found: Sequence[Message] | None = getattr(row, "prompt", None)
    return found or ()


def asked(row: Row) -> list[str]:
    """What the user says in the prompt, a text a message."""
    return [message.content for message in prompt(row) if message.role == "user"]


def written(row: Row) -> list[str]:
    """The answers, in the order of the row's fields; for a dialogue all that the assistant says."""
    match row:
        case Sft(messages=list() as messages):
            return [message.content for message in messages if message.role == "assistant"]
        case (
            Sft(completion=list() as completion)
            | Unpaired(completion=completion)
            | Outcome(completion=completion)
        ):
            return [completion[0].content]
        case Preference():
            return [row.chosen[0].content, row.rejected[0].content]
        case Stepwise():
            return ["".join(row.completions)]
        case Rollout():
            return [sample.text for sample in row.samples]
        case _:
            return []
