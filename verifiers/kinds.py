"""The kinds of verifiers, as configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mull.errors import InvalidRequest
from mull.types import Aggregation, VerifierKind
from mull.verifiers.composite import How
from mull.verifiers.formats import ProcessFormat, TokenClassification
from mull.verifiers.likelihood import Reduce
from mull.verifiers.syntax import Language
from mull.verifiers.verdicts import GENRM_PROMPT


class Config(BaseModel):
    """Settings of a verifier: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Config):
    """Settings of every verifier that is a model."""

    model: str = Field(min_length=1)
    """Folder or Hugging Face name, or the name of an engine that runs already."""
    options: dict[str, Any] = {}
    """Arguments of vLLM's `AsyncEngineArgs`."""


class Stepwise(Model):
    """Settings of every model that judges steps."""

    delimiter: str = Field("\n", min_length=1)
    aggregation: Aggregation = "min"
    memory: int = Field(1 << 16, ge=1)
    """Step scores remembered."""


class OrmConfig(Model):
    """An outcome reward model: see `OutcomeVerifier`."""

    kind: Literal["orm"]
    template: str | None = None
    temperature: float = Field(1.0, gt=0)
    bias: float = 0.0


class DifficultyConfig(Model):
    """A head that reads the question alone: see `DifficultyVerifier`."""

    kind: Literal["difficulty"]
    temperature: float = Field(1.0, gt=0)
    bias: float = 0.0


class PrmConfig(Stepwise):
    """A process reward model in one of the published formats: see `mull.verifiers.formats`."""

    kind: Literal["prm"]
    format: ProcessFormat = TokenClassification()


class LikelihoodConfig(Stepwise):
    """A language model's (relative) log-likelihood: see `LikelihoodVerifier`."""

    kind: Literal["likelihood"]
    reference: str | None = None
    template: str | None = None
    reduce: Reduce = "mean"
    temperature: float = Field(1.0, gt=0)
    bias: float = 0.0


class GenerativeConfig(Stepwise):
    """A language model asked for a verdict: see `GenerativeVerifier`."""

    kind: Literal["generative"]
    prompt: str = GENRM_PROMPT
    lead: str = ""
    good: str | int = "Yes"
    bad: str | int = "No"
    each: Literal["step", "answer"] = "answer"


class FormatConfig(Config):
    """Whether there is a final answer: see `FormatVerifier`."""

    kind: Literal["format"]
    form: Literal["boxed", "number", "choice", "json", "tool_call", "auto"] = "boxed"


class RegexConfig(Config):
    """A regular expression: see `RegexVerifier`."""

    kind: Literal["regex"]
    pattern: str
    full: bool = False


class JsonSchemaConfig(Config):
    """A JSON Schema: see `JsonSchemaVerifier`."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    kind: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class ReferenceConfig(Config):
    """Equality to the task's reference answer: see `ReferenceVerifier`."""

    kind: Literal["reference"]


class SyntaxConfig(Config):
    """Whether code parses: see `SyntaxVerifier`."""

    kind: Literal["syntax"]
    language: Language = "python"


class GroundingConfig(Config):
    """What of an answer occurs in the retrieved documents: see `GroundingVerifier`."""

    kind: Literal["grounding"]
    delimiter: str = Field("\n", min_length=1)
    aggregation: Aggregation = "min"


class CodeConfig(Config):
    """Code run against tests in a sandbox: see `CodeVerifier` and `Sandbox`."""

    kind: Literal["code"]
    tests: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    seconds: float = Field(5.0, gt=0, le=300)
    memory: int = Field(256, ge=64, description="MiB for each process.")
    processes: int = Field(16, ge=1)
    parallel: int = Field(4, ge=1, description="Sandboxes at once.")
    python: str | None = Field(None, min_length=1, description="Path of the interpreter in the sandbox.")


class CompositeConfig(Config):
    """Other verifiers, by name, as one: see `CompositeVerifier`."""

    kind: Literal["composite"]
    of: tuple[str, ...] = Field(min_length=1)
    how: How = "product"
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None

    @model_validator(mode="after")
    def _weights_fit(self) -> CompositeConfig:
        if self.weights is not None and (len(self.weights) != len(self.of) or not any(self.weights)):
            raise ValueError("`weights` has one number for each of `of`, not all 0")
        return self


class RemoteConfig(Config):
    """Workers started by `mull verifier`: see `RemoteVerifier`."""

    kind: Literal["remote"]
    urls: tuple[Annotated[str, Field(pattern=r"^https?://")], ...] = Field(min_length=1)
    discover: bool = False
    """Whether each address that the host of a URL resolves to is a worker."""
    judges: VerifierKind
    timeout: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _plain(self) -> RemoteConfig:
        if self.discover and not all(url.startswith("http://") for url in self.urls):
            raise ValueError("discover only goes with urls of http://: certificates are of names")
        return self


class PluginConfig(Config):
    """A verifier of another package: see `mull.verifiers.registry`."""

    kind: Literal["plugin"]
    use: str
    """Name of the entry point."""
    options: dict[str, Any] = {}


VerifierConfig = Annotated[
    OrmConfig
    | DifficultyConfig
    | PrmConfig
    | LikelihoodConfig
    | GenerativeConfig
    | FormatConfig
    | RegexConfig
    | JsonSchemaConfig
    | ReferenceConfig
    | SyntaxConfig
    | GroundingConfig
    | CodeConfig
    | CompositeConfig
    | RemoteConfig
    | PluginConfig,
    Field(discriminator="kind"),
]
"""One verifier; `kind` tells which fields it has."""

_ADAPTER: TypeAdapter[VerifierConfig] = TypeAdapter(VerifierConfig)


def parse(data: Mapping[str, Any]) -> VerifierConfig:
    """A configuration from plain data.

    Raises:
        InvalidRequest: it is not valid; the message names the field and what is allowed.
    """
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"verifier configuration: {where}: {first['msg']}", param=where) from error
