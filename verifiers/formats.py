"""How published process reward models want an answer laid out and where their judgement is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mull.types import Chat
from mull.verifiers.reading import Passage
from mull.verifiers.steps import Step


class _Format(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str | None = None
    """Text before the answer for models without chat template; `{question}` is the last user message."""


class TokenClassification(_Format):
    """A classifier of tokens; a step is judged at its last token (TRL's PRMs, ours)."""

    type: Literal["token_classification"] = "token_classification"
    label: int = Field(1, ge=0)
    """The label whose probability is the step's score."""

    def lay_out(self, text: str, steps: Sequence[Step], ids: tuple[int, ...]) -> Passage:
        """The answer as it is."""
        return Passage(text=text, marks=tuple(step.end for step in steps), ids=ids)


class StepTag(_Format):
    """A classifier of tokens that reads the judgement at a tag set behind each step.

    Qwen2.5-Math-PRM (Zhang et al. 2025, The Lessons of Developing Process Reward Models): `tag="<extra_0>"`.
    """

    type: Literal["step_tag"]
    tag: str = Field(min_length=1)
    after: str = ""
    """Text between a tag and the next step."""
    label: int = Field(1, ge=0)

    def lay_out(self, text: str, steps: Sequence[Step], ids: tuple[int, ...]) -> Passage:
        """Stripped steps, each with its tag."""
        return tagged(steps, self.tag, self.after)


class TokenLogprobs(_Format):
    r"""A language model that says after each step whether it is good, with one of two tokens.

    - `turns=False`: both are compared as successors of a tag behind each step. Math-Shepherd (Wang et al.
      2024): `tag=" ки"`, `after="\n"`, `good="+"`, `bad="-"`, `template="{question} "`.
    - `turns=True`: each step is a user's turn, the judgement the assistant's answer to it. RLHFlow (Dong et
      al. 2024): `good="+"`, `bad="-"`.
    """

    type: Literal["token_logprobs"]
    good: str | int
    """Text (or id) of the token that means a good step."""
    bad: str | int
    tag: str = ""
    after: str = ""
    turns: bool = False

    @model_validator(mode="after")
    def _turns_have_text(self) -> TokenLogprobs:
        if self.turns and not isinstance(self.good, str):
            raise ValueError("with `turns`, `good` must be text: it is the assistant's message")
        return self

    def lay_out(self, text: str, steps: Sequence[Step], ids: tuple[int, ...]) -> Passage:
        """Stripped steps, each with its tag; the answer as it is without a tag."""
        if self.tag or self.after:
            return tagged(steps, self.tag, self.after)
        return Passage(text=text, marks=tuple(step.end for step in steps), ids=ids)

    def converse(self, chat: Chat, steps: Sequence[Step]) -> list[Chat]:
        """For each step the conversation that ends with it, steps before it being approved."""
        question = max((n for n, m in enumerate(chat.messages) if m.get("role") == "user"), default=-1)
        messages = [*chat.messages[:question], *chat.messages[question + 1 :]]
        chats = []
        for number, step in enumerate(steps):
            text = step.text.strip()
            if number:
                messages.append({"role": "assistant", "content": str(self.good)})
            messages.append(
                {"role": "user", "content": text if number else f"{chat.question} {text}".strip()}
            )
            chats.append(replace(chat, messages=tuple(messages)))
        return chats


ProcessFormat = Annotated[TokenClassification | StepTag | TokenLogprobs, Field(discriminator="type")]


def tagged(steps: Sequence[Step], tag: str, after: str) -> Passage:
    """Stripped steps, each followed by a tag at which it is judged, and `after`."""
    text, marks = "", []
    for step in steps:
        text += step.text.strip() + tag
        marks.append(len(text))
        text += after
    return Passage(text=text, marks=tuple(marks))
