"""Debate: several agents answer, read each other's answers and answer again.

Du et al. 2023, Improving Factuality and Reasoning in Language Models through Multiagent Debate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from mull.run import Run
from mull.strategies.base import Cost, StrategyModel
from mull.strategies.panel import Models, numbered, shown, write, writers
from mull.strategies.prompts import fill, holding
from mull.strategies.ranking import by_votes, read
from mull.strategies.turns import follow_up
from mull.types import Answer, Candidate, Task

PROMPT = (
    "Others have answered the same question:\n\n{answers}\n\n"
    "Use their answers as advice, look for mistakes in theirs and in yours, and answer the question again."
)


class Debate(StrategyModel):
    """Has `agents` answers written, then in each of `rounds` shows each agent the others' last answers.

    An agent is told its own last answer as its own turn of the conversation. A reply that a limit cut off
    does not replace an answer that was complete. The debate ends early when all agents give equal answers.
    The answer is that of most agents in the end, its share of their votes the confidence; what was said in
    earlier rounds stays behind it.
    Cost: at most `agents * (1 + rounds)` generations.
    """

    source: ClassVar[str] = (
        "Du et al. 2023, Improving Factuality and Reasoning in Language Models through Multiagent Debate, "
        "https://arxiv.org/abs/2305.14325"
    )
    cost_model: ClassVar[str] = "agents * (1 + rounds) generations at most, agents at least"

    agents: int = Field(3, ge=2, le=32, description="How many take part.")
    rounds: int = Field(2, ge=1, le=16, description="How often they answer after having read the others.")
    models: Models = Field(
        (), max_length=16, description="The agents' models, by turns; the request's own where there are none."
    )
    prompt: str = Field(
        PROMPT,
        pattern=holding("answers"),
        max_length=4000,
        description="What an agent is asked in each round; {answers} are the others'.",
    )

    @model_validator(mode="after")
    def _each_model_takes_part(self) -> Self:
        if len(set(self.models)) > self.agents:
            raise ValueError(f"agents: must be at least the number of models, {len(set(self.models))}")
        return self

    def cost(self) -> Cost:
        """The first answers and those of each round."""
        return Cost(generations=self.agents * (1 + self.rounds))

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Answer, debate, vote."""
        panel = writers(run, self.models, self.agents)
        node = run.mark("round", number=0)
        # What other models say is no sample of this one.
        kind = "draft" if self.models else "sample"
        first = await write(panel, (), lambda _: task.chat, under=node, kind=kind)
        agents = [agent for agent, _ in first]
        said = [candidate for _, candidate in first]
        last = list(said)
        for number in range(1, self.rounds + 1):
            if len(last) < 2 or await self._agreed(last, run):
                break
            node = run.mark("round", number=number, parents=[c.node for c in last])
            replies = await self._replies(agents, last, node)
            said += [reply for reply in replies if reply is not None]
            last = [
                reply if reply is not None and (reply.complete or not own.complete) else own
                for reply, own in zip(replies, last, strict=True)
            ]
            if not any(replies):
                break
        earlier = [c for c in reversed(said) if c not in last]
        choices = await read(run, [*last, *earlier])
        return by_votes(choices, [float(i < len(last)) for i in range(len(choices))])

    async def _agreed(self, last: Sequence[Candidate], run: Run) -> bool:
        groups = await run.group(await run.answers_of(last))
        if None in groups or len(set(groups)) > 1:
            return False
        run.mark("consensus", agents=len(last))
        run.stop("consensus")
        return True

    async def _replies(
        self, agents: Sequence[Run], last: Sequence[Candidate], node: int
    ) -> list[Candidate | None]:
        """What each agent says to the others' last answers; None where there is no room or budget for it."""
        run = agents[0]
        roots = await run.together([self._asked(i, agents[i], last, node) for i in range(len(agents))])
        able = [i for i, root in enumerate(roots) if root is not None]
        drawn = await run.together(
            [agents[i].collect(root, kind="reply") for i, root in enumerate(roots) if root is not None]
        )
        found = {i: replies[0] for i, replies in zip(able, drawn, strict=True) if replies}
        return [found.get(i) for i in range(len(agents))]

    async def _asked(self, i: int, agent: Run, last: Sequence[Candidate], node: int) -> Candidate | None:
        chat, own = agent.task.chat, last[i].text
        others = [c.text for j, c in enumerate(last) if j != i]
        return await shown(
            agent,
            others,
            lambda texts: follow_up(chat, own, fill(self.prompt, answers=numbered(texts))),
            under=node,
        )
