"""Thinking that ends as soon as the model keeps giving the same answer when it is asked for it.

Fu et al. 2024, Efficiently Scaling LLM Reasoning with Certaindex (Dynasor); Yang et al. 2025, Dynamic Early
Exit in Reasoning Models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mull.form import Form
from mull.run import Run
from mull.strategies.base import Cost
from mull.strategies.ranking import by_score, read
from mull.strategies.thinking import Thinking, answered, conclude, thoughts
from mull.types import Answer, Candidate, Task


class EarlyExit(Thinking):
    """Asks for the answer every `span` tokens of thinking, and stops thinking when `agree` replies are equal.

    A probe puts `probe` behind the thinking so far and takes the model's most likely line; it is read like an
    answer, billed and thrown away. A probe that cannot be read, or does not end within `probe_tokens`, agrees
    with nothing. Thinking that is stopped is closed by `end_of_thinking` and `closing`, after which the model
    answers; thinking that ends of itself is left alone.
    Cost: at most `2 probes + 2` generations for each answer asked for, `probes` of them short.
    """

    source: ClassVar[str] = (
        "Fu et al. 2024, Efficiently Scaling LLM Reasoning with Certaindex, https://arxiv.org/abs/2412.20993;"
        " Yang et al. 2025, Dynamic Early Exit in Reasoning Models, https://arxiv.org/abs/2504.15895"
    )
    cost_model: ClassVar[str] = (
        "2 probes + 2 generations at most: parts of span tokens, probes of probe_tokens"
    )

    span: int = Field(64, ge=1, le=65536, description="Tokens of thinking between two probes.")
    delimiter: str | None = Field(
        None, min_length=1, max_length=32, description="Text that ends a part of the thinking sooner."
    )
    probe: str = Field(
        "\n\nFinal Answer:",
        min_length=1,
        max_length=200,
        description="What asks for the answer now; with the reply it reads like a final answer.",
    )
    probe_tokens: int = Field(24, ge=1, le=1024, description="Tokens of a probe at most.")
    probes: int = Field(64, ge=1, le=4096, description="How often to ask at most.")
    agree: int = Field(3, ge=1, le=64, description="How many replies in a row must be equal.")

    def cost(self) -> Cost:
        """Thinking in parts, a probe after each, the rest of the thinking and the answer."""
        return Cost(generations=2 * self.probes + 2)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Think, ask, answer; as often as answers are asked for."""
        root = await run.start()
        found = [await self._solve(root, run, certain=task.n == 1) for _ in range(task.n)]
        return by_score(await read(run, [c for c in found if c.steps]))

    async def _solve(self, current: Candidate, run: Run, *, certain: bool) -> Candidate:
        end, replies = self.end_of_thinking, list[str | None]()
        for number in range(self.probes + 1):
            asks = number < self.probes
            drawn = await run.collect(
                current,
                step=self.delimiter if asks else None,
                span=self.span if asks else None,
                sampling=thoughts(run, end),
                kind="thinking",
            )
            if not drawn:
                return current
            current = drawn[0]
            if certain:
                run.commit_prefix([current.text])
            if current.finish != "step":
                break
            replies.append(await self._ask(current, run))
            if await self._agreed(replies, run):
                run.mark("exit", parent=current.node, probes=len(replies), answer=replies[-1])
                run.stop("consensus")
                return await conclude(current, (end or "") + self.closing, run, certain=certain)
        if current.truncated or answered(current, run, end):
            return current
        return await conclude(current, end or "", run, certain=certain)

    async def _ask(self, thinking: Candidate, run: Run) -> str | None:
        """What the model would answer now; None when that cannot be read."""
        asked = await run.append(thinking, self.probe, kind="probe")
        stop = (*run.task.sampling.stop, "\n")
        sampling = replace(run.task.sampling, temperature=0.0, stop=stop, form=Form())
        drawn = await run.collect(asked, span=self.probe_tokens, sampling=sampling, kind="probe")
        said = [replace(reply, steps=(self.probe, *reply.steps[len(asked.steps) :])) for reply in drawn]
        return next(iter(await run.answers_of(said, bare=True)), None)

    async def _agreed(self, replies: Sequence[str | None], run: Run) -> bool:
        last = replies[-self.agree :]
        if len(last) < self.agree or None in last:
            return False
        return len(set(await run.group(last))) == 1
