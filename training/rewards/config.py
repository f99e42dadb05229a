"""What can be rewarded, as the section `rewards` of a recipe names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import regex  # type: ignore[import-untyped]
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from mull.answers import KINDS
from mull.errors import one_of
from mull.types import Aggregation
from mull.verifiers.formats import StepTag, TokenClassification

if TYPE_CHECKING:
    from mull.training.rewards.functions import Context, RewardFunction


def _known(form: str) -> str:
    if form not in KINDS:
        raise ValueError(f"unknown kind of answer {form!r}; allowed are {one_of(KINDS)}")
    return form


Form = Annotated[
    str, AfterValidator(_known), Field(description="How the final answer is found, as in `Answers.extract`.")
]


class _Reward(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(1.0, description="Factor of this reward in the sum.")


class Correct(_Reward):
    """1 for a complete answer that equals the row's `answer` mathematically, else 0."""

    kind: Literal["correct"]
    form: Form = "auto"

    def make(self, context: Context) -> RewardFunction:
        """The reward function."""
        from mull.training.rewards.functions import CorrectReward

        return CorrectReward(context, self.form)


class Format(_Reward):
    r"""1 for an answer in the expected form, else 0: one `\boxed{}`, at the end, or a regular expression."""

    kind: Literal["format"]
    pattern: str | None = Field(None, description="Regular expression that the whole answer matches.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            regex.compile(pattern or "")
        except regex.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern

    def make(self, context: Context) -> RewardFunction:
        """The reward function."""
        from mull.training.rewards.functions import FormatReward

        return FormatReward(self.pattern)


class Length(_Reward):
    """0 up to `limit - margin` tokens, then falling to -1 at `limit`: DAPO (arXiv:2503.14476, eq. 13)."""

    kind: Literal["length"]
    limit: int = Field(ge=1, description="Tokens from which on the punishment is whole.")
    margin: int = Field(ge=1, description="Tokens before the limit in which it grows.")

    @model_validator(mode="after")
    def _ordered(self) -> Length:
        if self.margin > self.limit:
            raise ValueError(f"margin {self.margin} is larger than limit {self.limit}")
        return self

    def make(self, context: Context) -> RewardFunction:
        """The reward function."""
        from trl.rewards import get_soft_overlong_punishment

        from mull.training.rewards.functions import TokenReward

        return TokenReward("length", get_soft_overlong_punishment(self.limit, self.margin))


class Concise(_Reward):
    """Against overthinking: among the answers to one prompt, shorter is better.

    Kimi k1.5 (arXiv:2501.12599, section 2.3.3): from 0.5 for the shortest answer of the group to -0.5 for the
    longest where it is right, and no more than 0 where it is wrong. With a weight below 1 beside `correct`,
    every right answer stays above every wrong one.
    """

    kind: Literal["concise"]
    form: Form = "auto"

    def make(self, context: Context) -> RewardFunction:
        """The reward function."""
        from mull.training.rewards.functions import ConciseReward

        return ConciseReward(context, self.form)


class Repetition(_Reward):
    """From 0 to -1: the share of repeated n-grams of tokens (arXiv:2502.03373, appendix C.2)."""

    kind: Literal["repetition"]
    ngram: int = Field(3, ge=1, description="Tokens of one n-gram.")

    def make(self, context: Context) -> RewardFunction:
        """The reward function."""
        from trl.rewards import get_repetition_penalty_reward

        from mull.training.rewards.functions import TokenReward

        return TokenReward("repetition", get_repetition_penalty_reward(self.ngram, -1.0))


class Orm(_Reward):
    """What an outcome reward model thinks of the answer, from 0 to 1."""

    kind: Literal["orm"]
    model: str = Field(min_length=1, description="Folder or name of a sequence classifier with one label.")
    template: str | None = Field(None, description="Text before the answer for models without chat template.")

    def make(self, context: Context) -> RewardFunction:
        """The reward function."""
        from mull.training.rewards.models import OutcomeReward

        return OutcomeReward(context, self.model, self.template)


class Prm(_Reward):
    """What a process reward model thinks of the steps of the answer, from 0 to 1.

    The least score is harder to hack than a sum, which steps without need raise (arXiv:2504.15275).
    """

    kind: Literal["prm"]
    model: str = Field(min_length=1, description="Folder or name of a token classifier.")
    format: Annotated[TokenClassification | StepTag, Field(discriminator="type")] = TokenClassification()
    delimiter: str = Field("\n", min_length=1, description="Where steps end in an answer.")
    aggregation: Aggregation = "min"

    def make(self, context: Context) -> RewardFunction:
        """The reward function."""
        from mull.training.rewards.models import ProcessReward

        return ProcessReward(context, self.model, self.format, self.delimiter, self.aggregation)


Reward = Annotated[Correct | Format | Length | Concise | Repetition | Orm | Prm, Field(discriminator="kind")]
"""One reward of a recipe."""
