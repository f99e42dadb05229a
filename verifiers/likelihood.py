"""Language models as process verifiers, without training: how likely they find each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mull.types import Aggregation, Candidate, Chat, Score, Task, VerifierKind, aggregate
from mull.verifiers.concurrency import together
from mull.verifiers.engine import Engine, Tail, probability
from mull.verifiers.incremental import Incremental
from mull.verifiers.reading import Passage, Reader, sampled_ids
from mull.verifiers.steps import split

Reduce = Literal["mean", "sum", "min"]


@dataclass(frozen=True, slots=True)
class StepLikelihood:
    """Log-probability of a step's tokens (natural logarithm), of the least likely one, and their number."""

    total: float
    least: float
    tokens: int

    def reduce(self, how: Reduce) -> float:
        """Total, mean a token, or that of the least likely token."""
        if how == "min":
            return self.least
        return self.total if how == "sum" else self.total / max(1, self.tokens)


class LikelihoodModel:
    """Log-likelihoods of steps under one language model on vLLM's generate runner.

    Args:
        engine: The model.
        reader: Its tokenizer and chat template.
        memory: Steps kept at most.
    """

    def __init__(self, engine: Engine, reader: Reader, *, memory: int = 1 << 16) -> None:
        self._reader = reader
        self._steps = Incremental(engine.logprobs, _measure, memory)

    async def measure(
        self, chat: Chat, passages: Sequence[Passage]
    ) -> list[tuple[tuple[StepLikelihood, ...], int] | None]:
        """The steps of each passage and the tokens computed for them; None for an empty or too long one."""
        return await self._steps.run(await self._reader.read(chat, passages))


class LikelihoodVerifier:
    """Scores a step by its log-likelihood, or by its log-ratio to a reference model.

    With L the log-likelihood of a step (its delimiter included), summed or averaged over its tokens, or that
    of its least likely token (one slip shows most clearly there):

    - alone: `exp(min(0, (L + bias) / temperature))`, for "mean" the geometric mean of the token
      probabilities;
    - with a reference: `sigmoid((L - L_reference + bias) / temperature)`, the implicit process reward of
      Yuan et al. 2024 (Free Process Rewards without Process Labels), where 1 / temperature is their beta and
      `reduce` is "sum".

    An answer without steps, or longer than a model's context, scores 0 without step scores.

    Args:
        name: The verifier's name.
        model: The model that finds steps likely or not.
        reference: The model whose view is divided out.
        reduce: Sum or mean over a step's tokens, or their minimum.
        temperature: Divides the (biased) log-likelihood or ratio.
        bias: Added before that, in nats.
        delimiter: Where steps end in an answer.
        aggregation: How `Score.value` is made from the steps.
    """

    kind: VerifierKind = "process"

    def __init__(
        self,
        name: str,
        model: LikelihoodModel,
        *,
        reference: LikelihoodModel | None = None,
        reduce: Reduce = "mean",
        temperature: float = 1.0,
        bias: float = 0.0,
        delimiter: str = "\n",
        aggregation: Aggregation = "min",
    ) -> None:
        self.name = name
        self._models = [model] if reference is None else [model, reference]
        self._reduce: Reduce = reduce
        self._temperature = temperature
        self._bias = bias
        self._delimiter = delimiter
        self._aggregation: Aggregation = aggregation

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order; copies of one answer are measured once.

        Raises:
            VerifierUnavailable: an engine died or refuses.
            InvalidRequest: the chat cannot be rendered or is too long.
        """
        passages = []
        for candidate in candidates:
            marks = tuple(step.end for step in split(candidate.text, self._delimiter))
            passages.append(Passage(text=candidate.text, marks=marks, ids=sampled_ids(candidate)))
        measured = await together(model.measure(task.chat, passages) for model in self._models)
        scores = []
        for views in zip(*measured, strict=True):
            if None in views:
                scores.append(Score(value=0.0))
                continue
            present = [view for view in views if view is not None]
            steps = tuple(
                self._value(of_step) for of_step in zip(*(likely for likely, _ in present), strict=True)
            )
            tokens = sum(computed for _, computed in present)
            scores.append(Score(value=aggregate(steps, self._aggregation), steps=steps, tokens=tokens))
        return scores

    def _value(self, views: Sequence[StepLikelihood]) -> float:
        likely = views[0].reduce(self._reduce)
        if len(views) == 1:
            return math.exp(min(0.0, (likely + self._bias) / self._temperature))
        return probability((likely - views[1].reduce(self._reduce) + self._bias) / self._temperature)


def _measure(tail: Tail, first: int, last: int) -> StepLikelihood | None:
    if first < tail.first:
        return None
    values = [tail[token] for token in range(first, last + 1)]
    return StepLikelihood(math.fsum(values), min(values, default=0.0), len(values))
