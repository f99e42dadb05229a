"""Verifiers as configuration, and the building of all that a server names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mull.answers import Answers
from mull.engines.launch import EngineSpec, launch, stop
from mull.errors import InvalidRequest, one_of
from mull.protocols import Verifier
from mull.types import Aggregation, VerifierKind
from mull.verifiers.composite import CompositeVerifier, How
from mull.verifiers.concurrency import together
from mull.verifiers.engine import Engine
from mull.verifiers.formats import ProcessFormat, TokenClassification, TokenLogprobs
from mull.verifiers.likelihood import LikelihoodModel, LikelihoodVerifier, Reduce
from mull.verifiers.orm import OutcomeVerifier
from mull.verifiers.prm import ProcessVerifier
from mull.verifiers.reading import Reader, fingerprint
from mull.verifiers.registry import PLUGINS
from mull.verifiers.remote import RemoteVerifier
from mull.verifiers.rules import FormatVerifier, JsonSchemaVerifier, ReferenceVerifier, RegexVerifier
from mull.verifiers.verdicts import GENRM_PROMPT, GenerativeVerifier, TokenLogprobsVerifier

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

Runner = Literal["generate", "pooling"]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Model(_Config):
    """Settings of every verifier that is a model."""

    model: str = Field(min_length=1)
    """Folder or Hugging Face name, or the name of an engine that runs already."""
    options: dict[str, Any] = {}
    """Arguments of vLLM's `AsyncEngineArgs`."""


class _Stepwise(_Model):
    """Settings of every model that judges steps."""

    delimiter: str = Field("\n", min_length=1)
    aggregation: Aggregation = "min"
    memory: int = Field(1 << 16, ge=1)
    """Step scores remembered."""


class OrmConfig(_Model):
    """An outcome reward model: see `OutcomeVerifier`."""

    kind: Literal["orm"]
    template: str | None = None
    temperature: float = Field(1.0, gt=0)
    bias: float = 0.0


class PrmConfig(_Stepwise):
    """A process reward model in one of the published formats: see `mull.verifiers.formats`."""

    kind: Literal["prm"]
    format: ProcessFormat = TokenClassification()


class LikelihoodConfig(_Stepwise):
    """A language model's (relative) log-likelihood: see `LikelihoodVerifier`."""

    kind: Literal["likelihood"]
    reference: str | None = None
    template: str | None = None
    reduce: Reduce = "mean"
    temperature: float = Field(1.0, gt=0)
    bias: float = 0.0


class GenerativeConfig(_Stepwise):
    """A language model asked for a verdict: see `GenerativeVerifier`."""

    kind: Literal["generative"]
    prompt: str = GENRM_PROMPT
    lead: str = ""
    good: str | int = "Yes"
    bad: str | int = "No"
    each: Literal["step", "answer"] = "answer"


class FormatConfig(_Config):
    """Whether there is a final answer: see `FormatVerifier`."""

    kind: Literal["format"]
    form: Literal["boxed", "number", "choice", "json", "tool_call", "auto"] = "boxed"


class RegexConfig(_Config):
    """A regular expression: see `RegexVerifier`."""

    kind: Literal["regex"]
    pattern: str
    full: bool = False


class JsonSchemaConfig(_Config):
    """A JSON Schema: see `JsonSchemaVerifier`."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    kind: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class ReferenceConfig(_Config):
    """Equality to the task's reference answer: see `ReferenceVerifier`."""

    kind: Literal["reference"]


class CompositeConfig(_Config):
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


class RemoteConfig(_Config):
    """Workers started by `mull verifier`: see `RemoteVerifier`."""

    kind: Literal["remote"]
    urls: tuple[Annotated[str, Field(pattern=r"^https?://")], ...] = Field(min_length=1)
    judges: VerifierKind
    timeout: float = Field(30.0, gt=0)
    api_key: str | None = Field(None, repr=False)


class PluginConfig(_Config):
    """A verifier of another package: see `mull.verifiers.registry`."""

    kind: Literal["plugin"]
    use: str
    """Name of the entry point."""
    options: dict[str, Any] = {}


VerifierConfig = Annotated[
    OrmConfig
    | PrmConfig
    | LikelihoodConfig
    | GenerativeConfig
    | FormatConfig
    | RegexConfig
    | JsonSchemaConfig
    | ReferenceConfig
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


def engine_specs(configs: Mapping[str, VerifierConfig]) -> list[EngineSpec]:
    """The engines that these verifiers need, one for each distinct model, runner and options."""
    specs: dict[str, EngineSpec] = {}
    for config in configs.values():
        for model, runner, options in _models(config):
            name = _engine_name(model, runner, options)
            specs[name] = EngineSpec(name=name, model=model, runner=runner, options=options)
    return list(specs.values())


class Verifiers(Mapping[str, Verifier]):
    """Verifiers by name, with what they run on."""

    def __init__(self) -> None:
        self.tokenizers: dict[str, str] = {}
        """Fingerprints of the tokenizers of those that are models."""
        self._verifiers: dict[str, Verifier] = {}
        self._engines: dict[str, AsyncLLM] = {}
        self._checks: dict[str, list[Callable[[], Awaitable[None]]]] = {}
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def __getitem__(self, name: str) -> Verifier:
        return self._verifiers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._verifiers)

    def __len__(self) -> int:
        return len(self._verifiers)

    async def check(self, name: str | None = None) -> None:
        """Ask whether a verifier, or all of them, can be reached.

        Raises:
            VerifierUnavailable: one cannot; it is named.
        """
        for each in self._checks if name is None else (name,):
            for check in self._checks.get(each, ()):
                await check()

    async def close(self) -> None:
        """Close connections and threads, and stop the engines that were started for these verifiers."""
        closers, self._closers = self._closers, []
        engines, self._engines = self._engines, {}
        await asyncio.gather(*(close() for close in closers))
        await stop(engines)


async def build(
    configs: Mapping[str, VerifierConfig],
    *,
    answers: Answers | None = None,
    policies: Sequence[str] = (),
    engines: Mapping[str, AsyncLLM] | None = None,
) -> Verifiers:
    """Start what these verifiers need and make them.

    Args:
        configs: What each name stands for.
        answers: What reads final answers; `format` and `reference` need it.
        policies: Names of running engines, or folders, of the models whose candidates will be judged. A
            verifier whose tokenizer equals all of theirs uses the sampled token ids.
        engines: Engines that run already: by the name that a configuration's `model` gives, or as launched
            from `engine_specs`. They are not stopped by `Verifiers.close`.

    Raises:
        EngineUnavailable: a model does not start.
        InvalidRequest: a composite names a verifier that does not exist, or itself.
        ValueError: a setting does not fit the model (a verdict of several tokens, no chat template).
    """
    order = _ordered(configs)
    verifiers = Verifiers()
    running = dict(engines or {})
    missing = [
        spec for spec in engine_specs(configs) if spec.name not in running and spec.model not in running
    ]
    try:
        if missing:
            verifiers._engines = await launch(missing)
            running |= verifiers._engines
        # vLLM asks this before the first request, and waits for ever if the engine has died by then.
        await together(engine.get_supported_tasks() for engine in running.values())
        builder = _Builder(verifiers, running, answers, policies)
        for name in order:
            await builder.add(name, configs[name])
    except BaseException:
        await verifiers.close()
        raise
    return verifiers


class _Builder:
    def __init__(
        self,
        verifiers: Verifiers,
        engines: Mapping[str, AsyncLLM],
        answers: Answers | None,
        policies: Sequence[str],
    ) -> None:
        self._made = verifiers
        self._engines = engines
        self._answers = answers
        self._policies = policies
        self._shared: str | None = None

    async def add(self, name: str, config: VerifierConfig) -> None:
        needs_ids = bool(_models(config)) or isinstance(config, RemoteConfig)
        if needs_ids and self._shared is None:
            self._shared = await asyncio.to_thread(self._shared_tokenizer)
        self._made._verifiers[name] = self._make(name, config)

    def _make(self, name: str, config: VerifierConfig) -> Verifier:
        match config:
            case OrmConfig():
                engine, reader = self._model(name, config, config.template)
                return OutcomeVerifier(name, engine, reader, temperature=config.temperature, bias=config.bias)
            case PrmConfig():
                return self._process(name, config)
            case LikelihoodConfig():
                return self._likelihood(name, config)
            case GenerativeConfig():
                engine, reader = self._model(name, config, None)
                fields = config.model_dump(include={"prompt", "lead", "good", "bad", "each"})
                return GenerativeVerifier(name, engine, reader, **fields, **_stepwise(config))
            case FormatConfig():
                return FormatVerifier(name, self._reading(), form=config.form)
            case ReferenceConfig():
                return ReferenceVerifier(name, self._reading())
            case RegexConfig():
                return RegexVerifier(name, config.pattern, full=config.full)
            case JsonSchemaConfig():
                return JsonSchemaVerifier(name, config.json_schema)
            case CompositeConfig():
                parts = [self._made[part] for part in config.of]
                return CompositeVerifier(name, parts, how=config.how, weights=config.weights)
            case RemoteConfig():
                return self._remote(name, config)
            case PluginConfig():
                return self._keep(name, PLUGINS.get(config.use)(name, **config.options))

    def _model(
        self, name: str, config: VerifierConfig, template: str | None, which: int = 0
    ) -> tuple[Engine, Reader]:
        model, runner, options = _models(config)[which]
        running = self._engines.get(model) or self._engines[_engine_name(model, runner, options)]
        engine = Engine(running, name)
        tokenizer = engine.tokenizer
        # A generate request has to leave room for the one token that it must generate.
        limit = engine.context if runner == "pooling" else engine.context - 1
        reader = Reader(
            tokenizer, limit=limit, template=template, shared=fingerprint(tokenizer) == self._shared
        )
        self._made.tokenizers.setdefault(name, reader.fingerprint)
        self._made._checks.setdefault(name, []).append(engine.check)
        self._made._closers.append(reader.close)
        return engine, reader

    def _process(self, name: str, config: PrmConfig) -> Verifier:
        layout, settings = config.format, _stepwise(config)
        if isinstance(layout, TokenLogprobs):
            engine, reader = self._model(name, config, layout.template)
            return TokenLogprobsVerifier(name, engine, reader, format=layout, **settings)
        engine, reader = self._model(name, config, layout.template)
        return ProcessVerifier(name, engine, reader, format=layout, **settings)

    def _likelihood(self, name: str, config: LikelihoodConfig) -> Verifier:
        models = [
            LikelihoodModel(*self._model(name, config, config.template, which), memory=config.memory)
            for which in range(len(_models(config)))
        ]
        return LikelihoodVerifier(
            name,
            models[0],
            reference=models[1] if len(models) > 1 else None,
            reduce=config.reduce,
            temperature=config.temperature,
            bias=config.bias,
            delimiter=config.delimiter,
            aggregation=config.aggregation,
        )

    def _remote(self, name: str, config: RemoteConfig) -> Verifier:
        remote = RemoteVerifier(
            name,
            config.urls,
            kind=config.judges,
            timeout=config.timeout,
            tokenizer=self._shared,
            api_key=config.api_key,
        )
        return self._keep(name, remote)

    def _keep(self, name: str, verifier: Any) -> Verifier:
        """A verifier that may want to be checked and closed."""
        if hasattr(verifier, "check"):
            self._made._checks.setdefault(name, []).append(verifier.check)
        if hasattr(verifier, "close"):
            self._made._closers.append(verifier.close)
        made: Verifier = verifier
        return made

    def _reading(self) -> Answers:
        if self._answers is None:
            raise ValueError("a `format` or `reference` verifier needs `answers`")
        return self._answers

    def _shared_tokenizer(self) -> str:
        """Fingerprint of the policies' tokenizer; empty when they have none or several."""
        found = {fingerprint(self._tokenizer(policy)) for policy in self._policies}
        return found.pop() if len(found) == 1 else ""

    def _tokenizer(self, policy: str) -> Any:
        if policy in self._engines:
            return self._engines[policy].get_tokenizer()
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(policy)


def _stepwise(config: _Stepwise) -> dict[str, Any]:
    return config.model_dump(include={"delimiter", "aggregation", "memory"})


def _models(config: VerifierConfig) -> list[tuple[str, Runner, dict[str, Any]]]:
    """Model, runner and options of each engine that a verifier needs."""
    match config:
        case OrmConfig():
            return [(config.model, "pooling", config.options)]
        case PrmConfig(format=TokenLogprobs()) | GenerativeConfig():
            return [(config.model, "generate", config.options)]
        case PrmConfig():
            # All rows, whatever the model's default: we pick them, so that the prefix cache can be read.
            return [(config.model, "pooling", {"pooler_config": {"pooling_type": "ALL"}, **config.options})]
        case LikelihoodConfig():
            models = (config.model, config.reference)
            return [(model, "generate", config.options) for model in models if model is not None]
        case _:
            return []


def _engine_name(model: str, runner: Runner, options: Mapping[str, Any]) -> str:
    return f"{model} ({runner}{''.join(f', {k}={v}' for k, v in sorted(options.items()))})"


def _ordered(configs: Mapping[str, VerifierConfig]) -> list[str]:
    """Names with a composite's parts before it."""
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise InvalidRequest(f"verifier {name!r} is made of itself", param=f"verifiers.{name}.of")
        config = configs.get(name)
        if config is None:
            raise InvalidRequest(
                f"verifier {above[-1]!r} is made of {name!r}, which is unknown; known are {one_of(configs)}",
                param=f"verifiers.{above[-1]}.of",
            )
        for part in config.of if isinstance(config, CompositeConfig) else ():
            visit(part, (*above, name))
        if name not in order:
            order.append(name)

    for name in configs:
        visit(name, ())
    return order
