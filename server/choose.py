"""How a request chooses its model, strategy, verifier and budget.

First match wins: the request's `ttc.strategy`; the model's name (`mull-tiny+beam_search`, or a preset,
`mull-tiny+careful`); `reasoning_effort`, where the configuration maps it; the configured default. Other
fields of `ttc` then adjust what was chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from mull.budget import Limits
from mull.errors import InvalidRequest, NotFound, Unsupported, one_of
from mull.form import Style, Thoughts
from mull.server.conversation import fetchable
from mull.server.errors import invalid
from mull.server.schemas import TTC, BudgetRequest, ChatRequest
from mull.server.settings import MaxLimits, Preset, Settings
from mull.strategies.base import Needs, StrategyModel
from mull.strategies.registry import STRATEGIES
from mull.types import VerifierKind

ACROSS_STEPS = (
    "min_tokens",
    "frequency_penalty",
    "presence_penalty",
    "structured_outputs",
    "thinking_token_budget",
)
"""Fields that look at all of an answer, which engines are asked for step by step in some strategies."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a request gets."""

    model: str
    alias: str
    """The model as the request named it."""
    name: str
    """The strategy's name."""
    strategy: StrategyModel
    verifier: str | None
    limits: Limits
    difficulty: str | None = None
    """The verifier that judges the question, for a strategy that asks."""
    style: Style = field(default_factory=Style)
    """How the model writes."""
    degraded: float | None = None
    """The part that is left of its budget, where the server is too busy for the whole."""


@dataclass(frozen=True, kw_only=True)
class Ability:
    """What a model's engine can do."""

    continues: bool = True
    """Continue a partial answer."""
    ends: bool = True
    """Tell which tokens end an answer."""
    apart: bool = False
    """Take answers apart itself: thoughts and calls come between the standard marks."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """What there is to choose from."""

    settings: Settings
    models: Mapping[str, Ability]
    verifiers: Mapping[str, VerifierKind]
    retrievers: Collection[str] = ()
    pressure: float = 1.0
    """The part of its budget that a request gets now."""

    def choose(self, request: ChatRequest) -> Plan:
        """Decide.

        Raises:
            NotFound: the model does not exist.
            InvalidRequest: the strategy, one of its parameters, the verifier or the budget is wrong.
        """
        ttc = request.ttc or TTC()
        model, choice, source = self._chosen(request, ttc)
        strategy = self._strategy(choice, ttc)
        if (lacking := self._lacking(model, strategy.needs)) is not None:
            raise Unsupported(
                f"{source}: {choice.strategy} needs {lacking}; use {one_of(self._strategies(model))}",
                param=source,
            )
        self._check_images(request, model)
        _check_sampling(request, strategy, choice.strategy, self.settings.limits)
        plan = Plan(
            model=model,
            alias=request.model,
            name=choice.strategy,
            strategy=strategy,
            verifier=self._verifier(choice, strategy, ttc, source),
            limits=_limits(choice.budget, ttc.budget, self.settings.limits),
            difficulty=self._default("difficulty") if strategy.needs.difficulty else None,
            style=self.style(model),
        )
        return plan if self.pressure >= 1 else _shrunk(plan, self.pressure, least=request.n)

    def style(self, model: str) -> Style:
        """How a model writes thoughts and tool calls."""
        settings, apart = self.settings.models.get(model), self.models[model].apart
        thoughts = None if settings is None else settings.thoughts
        parser = None if settings is None else settings.tool_parser
        return Style(
            thoughts=Thoughts() if thoughts is None and apart else thoughts,
            calls=parser or ("hermes" if apart else "auto"),
        )

    def _check_images(self, request: ChatRequest, model: str) -> None:
        settings = self.settings.models.get(model)
        for i, message in enumerate(request.messages):
            where = f"messages[{i}].content"
            if message.has_images and (settings is None or not settings.images):
                raise Unsupported(
                    f"{where} has a part of type 'image_url', but {model} takes text only", param=where
                )
            hosts = [] if settings is None else settings.image_hosts
            for url in message.images:
                # The engine would fetch it, from inside the network in which it is.
                if not fetchable(url, hosts):
                    known = f", or http(s): ones of {one_of(hosts)}" if hosts else ""
                    raise InvalidRequest(
                        f"{where}: images for {model} must be data: URLs{known}, not {url!r:.80}", param=where
                    )

    def aliases(self, model: str) -> Iterator[str]:
        """The names after `+` that work with a model: strategies and presets."""
        yield from self._strategies(model)
        for name, preset in self.settings.presets.items():
            strategy = STRATEGIES.get(preset.strategy).model_validate(preset.parameters, strict=True)
            if self._works(model, strategy.needs):
                yield name

    def served(self, name: str) -> str:
        """The model behind a name with or without `+alias`.

        Raises:
            NotFound: it does not exist.
        """
        model, plus, alias = name.partition("+")
        if model in self.models and (not plus or alias in self.aliases(model)):
            return model
        known = one_of(self.models)
        if model in self.models:
            known = one_of(f"{model}+{alias}" for alias in self.aliases(model))
        raise NotFound(
            f"the model {name!r:.200} does not exist; known are {known}",
            param="model",
            code="model_not_found",
        )

    def _chosen(self, request: ChatRequest, ttc: TTC) -> tuple[str, Preset, str]:
        """The model, what it is asked to do, and the field that said so."""
        model = self.served(request.model)
        _, _, alias = request.model.partition("+")
        if ttc.strategy is not None:
            if ttc.strategy not in STRATEGIES.names():
                raise InvalidRequest(
                    f"ttc.strategy: unknown strategy {ttc.strategy!r:.80}; "
                    f"known are {one_of(STRATEGIES.names())}",
                    param="ttc.strategy",
                )
            return model, Preset(strategy=ttc.strategy), "ttc.strategy"
        if alias:
            return model, self._preset(alias), "model"
        if request.reasoning_effort is not None:
            efforts = self.settings.efforts
            if request.reasoning_effort not in efforts:
                raise InvalidRequest(
                    f"reasoning_effort {request.reasoning_effort!r} is not configured here; "
                    f"configured: {one_of(efforts)}",
                    param="reasoning_effort",
                )
            return model, self._preset(efforts[request.reasoning_effort]), "reasoning_effort"
        return model, self.settings.defaults, "ttc.strategy"

    def _preset(self, alias: str) -> Preset:
        return self.settings.presets.get(alias) or Preset(strategy=alias)

    def _strategy(self, choice: Preset, ttc: TTC) -> StrategyModel:
        kind = STRATEGIES.get(choice.strategy)
        try:
            return kind.model_validate(choice.parameters | ttc.parameters, strict=True)
        except ValidationError as error:
            raise invalid(error, kind, prefix="ttc.", also=list(TTC.model_fields)) from None

    def _strategies(self, model: str) -> list[str]:
        kinds = {name: STRATEGIES.get(name) for name in STRATEGIES.names()}
        return [name for name, kind in kinds.items() if self._works(model, default_needs(kind))]

    def _works(self, model: str, needs: Needs) -> bool:
        """Whether a model's engine and what else there is let a strategy run."""
        verified = needs.verifier is None or bool(self._serving(needs.verifier))
        return verified and self._lacking(model, needs) is None

    def _lacking(self, model: str, needs: Needs) -> str | None:
        """What a strategy needs, verifiers apart, and cannot have with a model."""
        if needs.continues and not self.models[model].continues:
            return f"an engine that continues a partial answer, which {model}'s cannot"
        if needs.ends and not self.models[model].ends:
            return f"an engine that tells which tokens end an answer, which {model}'s does not"
        if needs.difficulty and not self._serving("difficulty"):
            return "a verifier of kind difficulty, and none is configured"
        if needs.retriever and not self.retrievers:
            return "a retriever, and none is configured"
        return None

    def _serving(self, needed: VerifierKind) -> list[str]:
        """The verifiers of a kind; a process verifier serves where an outcome is enough, but comes second."""
        exact = [name for name, kind in self.verifiers.items() if kind == needed]
        return exact + [
            name for name, kind in self.verifiers.items() if needed == "outcome" and kind == "process"
        ]

    def _default(self, needed: VerifierKind) -> str:
        """The verifier of a kind that serves where none is named."""
        serving, default = self._serving(needed), self.settings.defaults.verifiers.get(needed)
        return default if default in serving else serving[0]

    def _verifier(self, choice: Preset, strategy: StrategyModel, ttc: TTC, source: str) -> str | None:
        asked = ttc.verifier or choice.verifier
        if ttc.verifier is not None and ttc.verifier not in self.verifiers:
            raise InvalidRequest(
                f"ttc.verifier: unknown verifier {ttc.verifier!r:.80}; known are {one_of(self.verifiers)}",
                param="ttc.verifier",
            )
        needed = strategy.needs.verifier
        if needed is None:
            if ttc.verifier is not None:
                raise InvalidRequest(
                    f"ttc.verifier: {choice.strategy} uses no verifier; leave it out", param="ttc.verifier"
                )
            return None
        serving = self._serving(needed)
        if not serving:
            raise Unsupported(
                f"{source}: {choice.strategy} needs a verifier of kind {needed}; none is configured",
                param=source,
            )
        if asked is None:
            return self._default(needed)
        if asked not in serving:
            raise Unsupported(
                f"ttc.verifier: {choice.strategy} needs a verifier of kind {needed}, but {asked!r} "
                f"is of kind {self.verifiers[asked]}; use {one_of(serving)}",
                param="ttc.verifier",
            )
        return asked


def default_needs(kind: type[StrategyModel]) -> Needs:
    """What a strategy needs with its default parameters."""
    try:
        return kind().needs
    except ValidationError:  # it has none, some parameter must be given
        return Needs(verifier=kind.scores, continues=kind.continues)


def _limits(preset: BudgetRequest, asked: BudgetRequest | None, most: MaxLimits) -> Limits:
    """The budget: what the request asks, else the preset; never above what the configuration allows."""
    chosen: dict[str, Any] = {}
    for name in ("tokens", "seconds", "samples"):
        limit, own = getattr(most, name), getattr(asked, name, None)
        if own is not None and limit is not None and own > limit:
            raise InvalidRequest(
                f"ttc.budget.{name} must be at most {limit}, not {own}", param=f"ttc.budget.{name}"
            )
        value = own if own is not None else getattr(preset, name)
        chosen[name] = limit if value is None else value if limit is None else min(value, limit)
    return Limits(**chosen)


def _shrunk(plan: Plan, part: float, *, least: int) -> Plan:
    """The plan with a part of its budget; what has none gets one of samples, as its strategy may draw."""
    limits, cost = plan.limits, plan.strategy.cost()
    samples = limits.samples if cost is None else cost.generations
    if samples is not None:
        samples = max(least, int(part * min(samples, limits.samples or samples)))
    tokens = None if limits.tokens is None else max(1, int(part * limits.tokens))
    return replace(plan, limits=replace(limits, tokens=tokens, samples=samples), degraded=part)


def _check_sampling(request: ChatRequest, strategy: StrategyModel, name: str, most: MaxLimits) -> None:
    """Refuse what a strategy would honour wrongly.

    Raises:
        InvalidRequest: naming the field.
    """
    if request.n > most.n:
        raise InvalidRequest(f"n must be an integer from 1 to {most.n}, not {request.n}", param="n")
    drawn = getattr(strategy, "n", None)
    if drawn is not None and request.n > drawn:
        raise InvalidRequest(f"n must be at most ttc.n, which is {drawn}, not {request.n}", param="n")
    if not strategy.needs.continues:
        return
    # A step search calls the engine once a step, and these look only at what one call generated.
    for param in ACROSS_STEPS:
        if getattr(request, param):
            raise InvalidRequest(
                f"{param} cannot be honoured across the steps of {name}; leave it out", param=param
            )
