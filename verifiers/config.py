"""From configuration to running verifiers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mull.answers import Answers
from mull.engines.launch import EngineSpec, launch, stop
from mull.engines.supervised import Supervised
from mull.errors import InvalidRequest, one_of
from mull.protocols import Verifier
from mull.verifiers.code import CodeVerifier
from mull.verifiers.composite import CompositeVerifier
from mull.verifiers.difficulty import DifficultyVerifier
from mull.verifiers.engine import Engine
from mull.verifiers.formats import TokenLogprobs
from mull.verifiers.grounding import GroundingVerifier
from mull.verifiers.kinds import (
    CodeConfig,
    CompositeConfig,
    DifficultyConfig,
    FormatConfig,
    GenerativeConfig,
    GroundingConfig,
    JsonSchemaConfig,
    LikelihoodConfig,
    OrmConfig,
    PluginConfig,
    PrmConfig,
    ReferenceConfig,
    RegexConfig,
    RemoteConfig,
    Stepwise,
    SyntaxConfig,
    VerifierConfig,
    parse,
)
from mull.verifiers.likelihood import LikelihoodModel, LikelihoodVerifier
from mull.verifiers.orm import OutcomeVerifier
from mull.verifiers.prm import ProcessVerifier
from mull.verifiers.reading import Reader, fingerprint
from mull.verifiers.registry import PLUGINS
from mull.verifiers.remote import RemoteVerifier
from mull.verifiers.rules import FormatVerifier, JsonSchemaVerifier, ReferenceVerifier, RegexVerifier
from mull.verifiers.sandbox import Sandbox, SandboxLimits
from mull.verifiers.syntax import SyntaxVerifier
from mull.verifiers.verdicts import GenerativeVerifier, TokenLogprobsVerifier

__all__ = [
    "CompositeConfig",
    "VerifierConfig",
    "Verifiers",
    "build",
    "compose",
    "engine_specs",
    "models_of",
    "ordered",
    "parse",
]


@dataclass(frozen=True)
class _Need:
    """A model that a verifier runs on, and what it must be able to do."""

    model: str
    task: Literal["generate", "classify", "token_classify"]
    options: Mapping[str, Any]

    @property
    def spec(self) -> EngineSpec:
        """The engine; equal needs have equal names."""
        own = "".join(f", {key}={value}" for key, value in sorted(self.options.items()))
        # All rows, whatever the model's default: we pick them, so that the prefix cache can be read.
        pooler = {"pooler_config": {"pooling_type": "ALL"}} if self.task == "token_classify" else {}
        return EngineSpec(
            name=f"{self.model} ({self.task}{own})",
            model=self.model,
            runner="generate" if self.task == "generate" else "pooling",
            options={**pooler, **self.options},
        )


def engine_specs(configs: Mapping[str, VerifierConfig]) -> list[EngineSpec]:
    """The engines that these verifiers need, one for each distinct model, task and options."""
    specs = [need.spec for config in configs.values() for need in _needs(config)]
    return list({spec.name: spec for spec in specs}.values())


def models_of(config: VerifierConfig) -> list[str]:
    """Folders or names of the models that a verifier runs on."""
    return [need.model for need in _needs(config)]


def compose(name: str, config: CompositeConfig, parts: Sequence[Verifier]) -> CompositeVerifier:
    """A composite of verifiers that exist."""
    return CompositeVerifier(name, parts, how=config.how, weights=config.weights)


class Verifiers(Mapping[str, Verifier]):
    """Verifiers by name, with what they run on."""

    def __init__(self) -> None:
        self.tokenizers: dict[str, str] = {}
        """Fingerprints of the tokenizers of those that are models."""
        self._verifiers: dict[str, Verifier] = {}
        self._engines: dict[str, Supervised] = {}
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
    engines: Mapping[str, Supervised] | None = None,
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
        InvalidRequest: a composite names a verifier that does not exist, or itself; a model is not of the
            kind needed, or a setting does not fit it (a verdict of several tokens, no chat template); code is
            to be run and bubblewrap is not installed.
        VerifierUnavailable: the sandbox of a verifier does not come up on this machine.
    """
    order = ordered(configs)
    verifiers = Verifiers()
    running = dict(engines or {})
    missing = [
        spec for spec in engine_specs(configs) if spec.name not in running and spec.model not in running
    ]
    try:
        if missing:
            verifiers._engines = await launch(missing)
            running |= verifiers._engines
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
        engines: Mapping[str, Supervised],
        answers: Answers | None,
        policies: Sequence[str],
    ) -> None:
        self._made = verifiers
        self._engines = engines
        self._answers = answers
        self._policies = policies
        self._shared: str | None = None

    async def add(self, name: str, config: VerifierConfig) -> None:
        needs = _needs(config)
        if (needs or isinstance(config, RemoteConfig)) and self._shared is None:
            self._shared = await asyncio.to_thread(self._shared_tokenizer)
        try:
            for need in needs:
                await self._check(need)
            made = self._made._verifiers[name] = self._make(name, config)
            if isinstance(made, CodeVerifier):
                await made.check()
        except ValueError as error:
            raise InvalidRequest(f"verifier {name!r}: {error}", param=f"verifiers.{name}") from error

    async def _check(self, need: _Need) -> None:
        tasks = await self._engine(need).get_supported_tasks()
        if need.task not in tasks:
            raise ValueError(f"{need.model} is made for {one_of(tasks)}, not {need.task}")

    def _engine(self, need: _Need) -> Supervised:
        return self._engines.get(need.model) or self._engines[need.spec.name]

    def _make(self, name: str, config: VerifierConfig) -> Verifier:
        match config:
            case OrmConfig():
                engine, reader = self._model(name, config, config.template)
                return OutcomeVerifier(name, engine, reader, temperature=config.temperature, bias=config.bias)
            case DifficultyConfig():
                engine, reader = self._model(name, config, None)
                return DifficultyVerifier(
                    name, engine, reader, temperature=config.temperature, bias=config.bias
                )
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
            case SyntaxConfig():
                return SyntaxVerifier(name, language=config.language)
            case GroundingConfig():
                return GroundingVerifier(name, delimiter=config.delimiter, aggregation=config.aggregation)
            case CodeConfig():
                limits = SandboxLimits(
                    seconds=config.seconds, memory=config.memory, processes=config.processes
                )
                sandbox = Sandbox(limits, parallel=config.parallel, python=config.python)
                return self._keep(name, CodeVerifier(name, sandbox, config.tests))
            case CompositeConfig():
                return compose(name, config, [self._made[part] for part in config.of])
            case RemoteConfig():
                return self._remote(name, config)
            case PluginConfig():
                return self._keep(name, PLUGINS.get(config.use)(name, **config.options))

    def _model(
        self, name: str, config: VerifierConfig, template: str | None, which: int = 0
    ) -> tuple[Engine, Reader]:
        need = _needs(config)[which]
        engine = Engine(self._engine(need), name)
        tokenizer = engine.tokenizer
        # A generate request has to leave room for the one token that it must generate.
        limit = engine.context - 1 if need.task == "generate" else engine.context
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
        if layout.label >= engine.labels > 1:
            raise ValueError(f"the model has {engine.labels} labels, there is no label {layout.label}")
        return ProcessVerifier(name, engine, reader, format=layout, **settings)

    def _likelihood(self, name: str, config: LikelihoodConfig) -> Verifier:
        models = [
            LikelihoodModel(*self._model(name, config, config.template, which), memory=config.memory)
            for which in range(len(_needs(config)))
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
            discover=config.discover,
            timeout=config.timeout,
            tokenizer=self._shared,
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


def _stepwise(config: Stepwise) -> dict[str, Any]:
    return config.model_dump(include={"delimiter", "aggregation", "memory"})


def _needs(config: VerifierConfig) -> list[_Need]:
    """The models that a verifier runs on."""
    match config:
        case OrmConfig() | DifficultyConfig():
            return [_Need(config.model, "classify", config.options)]
        case PrmConfig(format=TokenLogprobs()) | GenerativeConfig():
            return [_Need(config.model, "generate", config.options)]
        case PrmConfig():
            return [_Need(config.model, "token_classify", config.options)]
        case LikelihoodConfig():
            models = (config.model, config.reference)
            return [_Need(model, "generate", config.options) for model in models if model is not None]
        case _:
            return []


def ordered(configs: Mapping[str, VerifierConfig]) -> list[str]:
    """Names with a composite's parts before it.

    Raises:
        InvalidRequest: a composite names a verifier that does not exist, or itself.
    """
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
