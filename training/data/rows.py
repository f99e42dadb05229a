"""Rows of training data: JSON Lines, one object a line, in the shapes that TRL's trainers read.

Any row may hold fields that are not named here; they are kept and ignored.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mull.training.data.kinds import Kind
from mull.training.errors import TrainingError

Share = Annotated[float, Field(ge=0, le=1, strict=False)]
"""A number from 0 to 1; true and false are 1 and 0."""
Reference = Annotated[str, Field(strict=False, coerce_numbers_to_str=True)]
"""A reference answer; numbers become text."""

_CONFIG = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)


class Message(BaseModel):
    """One message of a chat, as OpenAI has it, with text as its content."""

    model_config = _CONFIG

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


class Turn(Message):
    """A message that is learned or judged."""

    role: Literal["assistant"]


Chat = Annotated[list[Message], Field(min_length=1)]
Completion = Annotated[list[Turn], Field(min_length=1, max_length=1)]


class Row(BaseModel):
    """What every row may say of its origin."""

    model_config = _CONFIG

    problem: str | None = None
    """Id of the problem it was made from."""
    source: dict[str, Any] | None = None
    """Provenance: kind, model, seed, trace, labels and the like."""

    def columns(self) -> dict[str, Any]:
        """What a trainer reads: the fields of the format without those of the origin, as plain data."""
        columns = type(self).model_fields.keys() - Row.model_fields.keys()
        return self.model_dump(include=columns, exclude_none=True)


class Problem(Row):
    """A question with its reference answer. `question` is short for a `prompt` of one user message."""

    prompt: Chat
    id: str = Field(default_factory=lambda fields: _digest(fields["prompt"]), min_length=1)
    """A digest of the prompt where the row has none."""
    answer: Reference | None = None
    steps: list[str] | None = None
    """A reference solution."""
    seed: int | None = None
    index: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _asked(cls, row: Any) -> Any:
        if isinstance(row, dict) and "question" in row and "prompt" not in row:
            return row | {"prompt": [{"role": "user", "content": row["question"]}]}
        return row


def _digest(prompt: Sequence[Message]) -> str:
    text = "\n".join(f"{message.role}: {message.content}" for message in prompt)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Sample(BaseModel):
    """One sampled completion and what is known of it."""

    model_config = _CONFIG

    text: str
    finish: Literal["stop", "length"]
    tokens: int | None = Field(None, ge=0)
    """Null where a server does not tell them for each sample."""
    logprob: float | None = None
    """Natural logarithm of its probability, summed over tokens."""
    right: bool | None = None
    """Whether its answer equals the reference; null where there is none."""
    score: float | None = None
    """What a verifier or a judge gave it; higher is better."""


class Rollout(Row):
    """All samples of one problem."""

    problem: str
    prompt: Chat
    answer: Reference | None = None
    samples: list[Sample]


class Sft(Row):
    """A demonstration: `messages`, whose assistant turns are learned, or a `prompt` and its `completion`."""

    messages: Chat | None = None
    prompt: Chat | None = None
    completion: Completion | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.prompt is None) != (self.completion is None) or (self.messages is None) == (
            self.prompt is None
        ):
            raise ValueError("a row has either messages or prompt and completion")
        return self


class Preference(Row):
    """Two completions of a prompt, of which one is better."""

    prompt: Chat
    chosen: Completion
    rejected: Completion


class Unpaired(Row):
    """A completion that is wanted or not."""

    prompt: Chat
    completion: Completion
    label: bool


class Outcome(Row):
    """A completion and how right it is."""

    prompt: Chat
    completion: Completion
    label: Share


class Stepwise(Row):
    """A completion in steps, each with its delimiter, and a label for each; null is not learned."""

    prompt: Chat
    completions: list[str] = Field(min_length=1)
    labels: list[Share | None]

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if len(self.completions) != len(self.labels):
            raise ValueError("completions and labels differ in number")
        return self


class Difficulty(Row):
    """A prompt and the share of samples that are right."""

    prompt: Chat
    rate: Share


class Grpo(Row):
    """A prompt of reinforcement learning and the reference that its reward compares with."""

    prompt: Chat
    answer: Reference


FORMATS: dict[Kind, type[Row]] = {
    "problem": Problem,
    "rollout": Rollout,
    "sft": Sft,
    "preference": Preference,
    "unpaired": Unpaired,
    "outcome": Outcome,
    "stepwise": Stepwise,
    "difficulty": Difficulty,
    "grpo": Grpo,
}

AnyRow = TypeVar("AnyRow", bound=Row)


def assistant(text: str) -> list[Turn]:
    """A completion of one message."""
    return [Turn(role="assistant", content=text)]


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of each line that is not blank.

    Raises:
        TrainingError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise TrainingError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None


def read(path: Path, row: type[AnyRow]) -> list[AnyRow]:
    """All rows of a file.

    Raises:
        TrainingError: the file cannot be read, or a line is no such row; the message names line and field.
    """
    rows = []
    for number, line in lines(path):
        try:
            rows.append(row.model_validate_json(line))
        except ValidationError as error:
            raise TrainingError(f"{path}, line {number}: {faults_of(error)[0]}") from None
    return rows


def faults_of(error: ValidationError) -> list[str]:
    """Each fault of a row as `field: what is wrong`, with `*` for positions in lists."""
    return [
        ": ".join(part for part in (_field(fault["loc"]), fault["msg"].removeprefix("Value error, ")) if part)
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
        if fault["type"] != "default_factory_not_called"
    ]


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join("*" if isinstance(part, int) else part for part in location)


def write(path: Path, rows: Iterable[BaseModel]) -> int:
    """Write rows, with the fields that they were given; the file appears when it is complete.

    Returns:
        How many rows there were.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(row.model_dump_json(exclude_unset=True) + "\n")
                count += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count
