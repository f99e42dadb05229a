"""The model checks its own answers, and how sure it is of each check decides.

Kadavath et al. 2022, Language Models (Mostly) Know What They Know (P(True)); Weng et al. 2023, Large
Language Models are Better Reasoners with Self-Verification (the conclusion checked apart from its proof).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.prompts import fill, holding
from mull.strategies.ranking import by_score, by_votes, read
from mull.strategies.turns import follow_up
from mull.strategies.verdict import BAD, CHECK, GOOD, verdicts
from mull.types import Answer, Choice, Score, Task


class SelfVerify(StrategyModel):
    """Samples `n` answers, asks the model after each whether it is right, and returns the likeliest one.

    A check is a further turn, `check`, whose reply is one word: P(good) / (P(good) + P(bad)). It follows the
    whole answer (`proof`), or the final answer alone, put back as `statement` (`answer`), or each of them in
    turn (`both`, whose product counts). With `vote`, equal answers add up their probabilities. Answers that
    are cut off are not checked. When no check can be read, the plain vote decides.
    Cost: `n` generations and as many checks of two tokens; twice as many checks with `both`.
    """

    source: ClassVar[str] = (
        "Kadavath et al. 2022, Language Models (Mostly) Know What They Know, "
        "https://arxiv.org/abs/2207.05221; Weng et al. 2023, Large Language Models "
        "are Better Reasoners with Self-Verification, https://arxiv.org/abs/2212.09561"
    )
    cost_model: ClassVar[str] = "2n generations, n of them of two tokens (checks=both: 3n, 2n of them)"

    n: int = Field(16, ge=1, le=1024, description="How many answers to sample.")
    checks: Literal["proof", "answer", "both"] = Field(
        "proof", description="Whether the whole answer is checked, the final answer alone, or both."
    )
    vote: bool = Field(False, description="Whether equal answers add up their probabilities.")
    check: str = Field(CHECK, min_length=1, description="The turn that asks for the verdict.")
    statement: str = Field(
        "The answer is {answer}.",
        pattern=holding("answer"),
        description="What the model is made to have said when the final answer alone is checked.",
    )
    good: str = Field(GOOD, min_length=1, description="The word that approves.")
    bad: str = Field(BAD, min_length=1, description="The word that rejects.")

    def cost(self) -> Cost:
        """`n` generations and their checks."""
        return Cost(generations=self.n * (3 if self.checks == "both" else 2))

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Sample, check, take the best."""
        choices = await read(run, await run.collect(await run.start(), n=self.n))
        choices = await self._checked(choices, run)
        if all(c.score is None for c in choices):
            return by_votes(choices, [1.0] * len(choices))
        return by_votes(choices, [c.score or 0.0 for c in choices]) if self.vote else by_score(choices)

    async def _checked(self, choices: Sequence[Choice], run: Run) -> list[Choice]:
        """The choices with the probability that the model gives them, where it said."""
        said = [self._said(c) if c.candidate.complete else () for c in choices]
        chats = [follow_up(run.task.chat, text, self.check) for texts in said for text in texts]
        under = [c.candidate.node for c, texts in zip(choices, said, strict=True) for _ in texts]
        told = iter(await verdicts(run, chats, good=self.good, bad=self.bad, under=under))
        checked = []
        for choice, texts in zip(choices, said, strict=True):
            values = [value for _ in texts if (value := next(told)) is not None]
            known = bool(texts) and len(values) == len(texts)
            if known:
                run.trace.score(choice.candidate.node, Score(value=math.prod(values)))
            checked.append(replace(choice, score=math.prod(values) if known else None))
        return checked

    def _said(self, choice: Choice) -> tuple[str, ...]:
        """What is checked of a choice; without a readable answer, its text stands for it."""
        proof = choice.candidate.text
        alone = proof if choice.answer is None else fill(self.statement, answer=choice.answer)
        return {"proof": (proof,), "answer": (alone,), "both": (proof, alone)}[self.checks]
