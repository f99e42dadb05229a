"""Everything a server runs on: the engines, the verifiers, the retrievers and the reader of answers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mull.answers import Answers
from mull.engines.pool import Pool
from mull.engines.replica import Replica
from mull.engines.tasks import uninterrupted
from mull.errors import EngineUnavailable, InvalidRequest, MullError, Unavailable
from mull.protocols import Generator, Retriever, Verifier
from mull.server.errors import cause_of
from mull.server.pool import Loaded, VerifierPool
from mull.server.roster import Roster
from mull.server.settings import ConfigurationError, ModelSettings, Settings
from mull.types import Candidate, Chat, Prompt, Task

if TYPE_CHECKING:
    from mull.engines.launch import EngineSpec
    from mull.engines.remote import RemoteGenerator
    from mull.engines.supervised import Supervised
    from mull.retrieval.config import Retrievers
    from mull.verifiers.config import VerifierConfig

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds after which what does not answer counts as down."""


Load = Callable[[str, "VerifierConfig"], Awaitable[Loaded]]
"""Makes another version of the verifier of this name."""


class Backend:
    """Starts in the background, so that the server can say meanwhile what it waits for.

    Args:
        settings: What to start.
        generators: Models that run already, instead of the configured ones; not closed here.
        verifiers: Verifiers that run already, instead of the configured ones; not closed here.
        load: Loads another version of a verifier, instead of what the configuration says.
        on_failure: Called when something cannot be started.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        generators: Mapping[str, Generator] | None = None,
        verifiers: Mapping[str, Verifier] | None = None,
        load: Load | None = None,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._given = generators, verifiers
        self.load = load or self._load
        self._on_failure = on_failure
        self._engines: dict[str, Supervised] = {}
        self.pools: dict[str, Pool] = {}
        """The replicas of each model."""
        self._rosters: list[Roster] = []
        self._closing: list[Pool] = []
        self._uses: Counter[str] = Counter()
        self._launching = asyncio.Lock()
        self._serial = itertools.count(2)
        self._indexed: Retrievers | None = None
        self._starting: asyncio.Task[None] | None = None
        self.created = int(time.time())
        self.answers = Answers()
        self.generators: dict[str, Generator] = {}
        self.verifiers = VerifierPool()
        self.retrievers: Mapping[str, Retriever] = {}
        self.ready = False
        self.failure: str | None = None

    async def open(self) -> None:
        """Begin to start everything; returns at once."""
        self._starting = asyncio.create_task(self._start())
        if self._given[0] is not None and self._given[1] is not None:
            await self._starting

    async def close(self) -> None:
        """Stop everything that was started here."""
        self.ready = False
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self.verifiers.close()
        if self._indexed is not None:
            await self._indexed.close()
        for roster in self._rosters:
            await roster.close()
        for pool in self._closing:
            await pool.close()
        engines, self._engines = self._engines, {}
        if engines:
            from mull.engines.launch import stop

            await stop(engines)
        await self.answers.close()

    async def check(self) -> None:
        """Whether all requests can be served.

        Raises:
            Unavailable: naming what is missing: not started yet, failed to start, or dead since.
        """
        self.check_started()
        for pool in self.pools.values():
            await pool.check()
        replicas = {replica.name for pool in self.pools.values() for replica in pool.replicas}
        if dead := [
            name for name, engine in self._engines.items() if engine.errored and name not in replicas
        ]:
            raise EngineUnavailable(f"the engine died: {', '.join(dead)}")

    def check_started(self) -> None:
        """Whether everything has been started.

        Raises:
            Unavailable: naming what is missing.
        """
        if self.failure is not None:
            raise Unavailable(f"the server could not start: {self.failure}", code="not_ready")
        if not self.ready:
            names = (*self._settings.models, *self._settings.verifiers, *self._settings.retrievers)
            missing = [name for name in names if name not in self._engines and name not in self.pools]
            raise Unavailable(f"still starting: {', '.join(missing)}", code="not_ready")

    @property
    def restarts(self) -> dict[str, int]:
        """How often each engine of this process was started again."""
        return {engine.name: engine.restarts for engine in self._engines.values()}

    async def healthy_models(self) -> dict[str, bool]:
        """Whether the engine of each model lives, or the server of it says so."""
        if not self.ready:
            return dict.fromkeys(self._settings.models if self._given[0] is None else self._given[0], False)
        async with asyncio.TaskGroup() as group:
            probes = {name: group.create_task(self._lives(name)) for name in self.generators}
        return {name: probe.result() for name, probe in probes.items()}

    async def _lives(self, name: str) -> bool:
        if name not in self.pools:
            return True
        try:
            async with asyncio.timeout(PATIENCE):
                await self.pools[name].check()
        except (TimeoutError, EngineUnavailable):
            return False
        return True

    async def healthy_verifiers(self) -> dict[str, bool]:
        """Whether each verifier answers, found out by asking it to score a word."""
        async with asyncio.TaskGroup() as group:
            probes = {name: group.create_task(self._healthy(name)) for name in self.verifiers}
        return {name: probe.result() for name, probe in probes.items()}

    async def _healthy(self, name: str) -> bool:
        with self.verifiers.lease(name) as loaded:
            return await _answers(loaded.verifier)

    async def _start(self) -> None:
        generators, verifiers = self._given
        try:
            if generators is None:
                await self._start_engines(with_verifiers=verifiers is None)
            else:
                self.generators = dict(generators)
            await self._serve_verifiers(verifiers)
            self.retrievers = await self._build_retrievers()
            self.ready = True
            log.info("ready: %s", ", ".join([*self.generators, *self.verifiers]))
        except Exception as error:
            cause = cause_of(error)
            self.failure = str(cause) or type(cause).__name__
            log.error("cannot start: %s", self.failure, exc_info=not isinstance(cause, MullError))
            if self._on_failure is not None:
                self._on_failure()

    async def _start_engines(self, *, with_verifiers: bool) -> None:
        """The engines of this process one after the other, connections to other servers meanwhile."""
        from mull.engines.launch import launch

        models = self._settings.models
        async with asyncio.TaskGroup() as group:
            for name, model in models.items():
                if model.path is None:
                    group.create_task(self._connect(name, model))
            for spec in self._specs(with_verifiers):
                self._engines |= await launch([spec])
        if any(model.path for model in models.values()):
            from mull.engines.vllm import VLLMGenerator

        for name, model in models.items():
            if model.path is not None:
                self.pools[name] = Pool(name)
                self._closing.append(self.pools[name])
                for engine in _engines_of(name, model):
                    generator = VLLMGenerator(self._engines[engine], model=name)
                    self.pools[name].add(Replica(engine, generator))
            self.generators[name] = self.pools[name]

    def _specs(self, with_verifiers: bool) -> list[EngineSpec]:
        """What to launch, under the names that the engines' metrics will carry."""
        from mull.engines.launch import EngineSpec
        from mull.verifiers.config import engine_specs

        models = self._settings.models
        specs = {
            engine: EngineSpec(name=engine, model=model.path, options=_options(model))
            for name, model in models.items()
            if model.path is not None
            for engine in _engines_of(name, model)
        }
        for name, config in self._settings.verifiers.items() if with_verifiers else ():
            for i, spec in enumerate(self._own_specs(engine_specs({name: config}))):
                if spec.name not in specs:
                    specs[spec.name] = _labelled(spec, f"verifier/{name}" + (f"/{i}" if i else ""))
        return list(specs.values())

    def _own_specs(self, specs: Sequence[EngineSpec]) -> list[EngineSpec]:
        """Those that are no served models: a verifier may name one, it then uses the same engine."""
        return [spec for spec in specs if spec.model not in self._settings.models]

    async def _connect(self, name: str, model: ModelSettings) -> None:
        from mull.engines.remote import RemoteGenerator

        key = None
        if model.api_key_env is not None and not (key := os.environ.get(model.api_key_env)):
            raise ConfigurationError(f"models.{name}.api_key_env: {model.api_key_env} is not set")

        def connect(url: str) -> Awaitable[RemoteGenerator]:
            return RemoteGenerator.connect(
                url, model=model.served_as or name, api_key=key, context=model.context, images=model.images
            )

        self._closing.append(pool := Pool(name))
        roster = Roster(pool, model, connect)
        self._rosters.append(roster)
        try:
            await roster.open()
        except ConfigurationError as error:
            raise ConfigurationError(f"models.{name}.{error}") from None
        self.pools[name] = pool

    async def _serve_verifiers(self, given: Mapping[str, Verifier] | None) -> None:
        """All configured verifiers, or those given and what is composed of them."""
        from mull.verifiers.config import CompositeConfig, engine_specs, ordered

        configs = self._settings.verifiers
        for name, verifier in (given or {}).items():
            config = configs.get(name)
            simple = None if isinstance(config, CompositeConfig) else config
            self.verifiers.put(name, Loaded(verifier=verifier, config=simple, version="given"))
        for name in ordered(configs):
            config = configs[name]
            if given is not None and (name in given or not isinstance(config, CompositeConfig)):
                continue
            if isinstance(config, CompositeConfig):
                self.verifiers.add(name, config)
            else:
                running = [spec.name for spec in engine_specs({name: config}) if spec.name in self._engines]
                self.verifiers.put(name, await self._build(name, config, self._engines, running))

    async def _load(self, name: str, config: VerifierConfig) -> Loaded:
        """A verifier on engines of its own, beside those that run."""
        from mull.engines.launch import launch
        from mull.verifiers.config import engine_specs

        mark, specs = f"#{next(self._serial)}", self._own_specs(engine_specs({name: config}))
        marked = {
            spec.name: replace(
                _labelled(spec, f"verifier/{name}{mark}" + (f"/{i}" if i else "")), name=f"{spec.name} {mark}"
            )
            for i, spec in enumerate(specs)
        }
        async with self._launching:
            # What is being stopped gives its memory back first.
            await self.verifiers.settled()
            launched = await launch(list(marked.values()))
        self._engines |= launched
        policies = {model: self._engines[model] for model in self._settings.models if model in self._engines}
        own = {plain: launched[spec.name] for plain, spec in marked.items()}
        return await self._build(name, config, {**policies, **own}, list(launched))

    async def _build(
        self, name: str, config: VerifierConfig, engines: Mapping[str, Supervised], uses: Sequence[str]
    ) -> Loaded:
        """A verifier over engines that run; those it `uses` are stopped when no verifier does any more."""
        from mull.verifiers.config import build
        from mull.verifiers.version import version_of

        folders = {model: found.path for model, found in self._settings.models.items() if found.path}
        # Token ids may be reused where all candidates come from engines whose tokenizer is known here.
        policies = () if self._rosters else tuple(self.generators)
        self._uses.update(uses)
        try:
            version = await asyncio.to_thread(version_of, config, folders)
            built = await build({name: config}, answers=self.answers, policies=policies, engines=engines)
        except BaseException:
            await uninterrupted(self._leave(uses))
            raise

        async def close() -> None:
            await built.close()
            await self._leave(uses)

        return Loaded(verifier=built[name], config=config, version=version, close=close)

    async def _leave(self, engines: Sequence[str]) -> None:
        """Stop those of these engines that no verifier uses any more."""
        self._uses.subtract(engines)
        gone = [name for name in engines if not self._uses[name] and name in self._engines]
        if unused := {name: self._engines.pop(name) for name in gone}:
            from mull.engines.launch import stop

            await stop(unused)

    async def _build_retrievers(self) -> Mapping[str, Retriever]:
        from mull.retrieval.config import build

        self._indexed = await build(self._settings.retrievers)
        return self._indexed


def _engines_of(name: str, model: ModelSettings) -> list[str]:
    """The engines of a model, under the names that their metrics carry."""
    return [name, *(f"{name}/{number}" for number in range(1, model.replicas))]


def _labelled(spec: EngineSpec, label: str) -> EngineSpec:
    """The spec under the name that its metrics will carry."""
    return replace(spec, options={"served_model_name": label, **spec.options})


def _options(model: ModelSettings) -> dict[str, object]:
    context = {} if model.context is None else {"max_model_len": model.context}
    return {**context, **model.options}


async def _answers(verifier: Verifier) -> bool:
    chat = Chat(messages=({"role": "user", "content": "1 + 1"},))
    word = Candidate(prompt=Prompt(chat=chat, text="2"), steps=("2",), finish="stop")
    try:
        async with asyncio.timeout(PATIENCE):
            await verifier.score(Task(chat=chat), [word])
    except (Unavailable, TimeoutError):
        return False
    except InvalidRequest:
        return True  # It wants more than a word (a reference, say), but it is there to say so.
    return True
