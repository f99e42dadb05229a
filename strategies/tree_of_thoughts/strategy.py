"""Tree of thoughts: a search over steps that the model writes and, unless a verifier does, judges itself.

Yao et al. 2023, Tree of Thoughts: Deliberate Problem Solving with Large Language Models.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from mull.run import Run
from mull.strategies.base import Cost, Needs, StrategyModel
from mull.strategies.prompts import holding
from mull.strategies.steps import conclude
from mull.strategies.tree_of_thoughts.judging import ByValue, ByVerifier, ByVote, Judge
from mull.strategies.tree_of_thoughts.search import Breadth, Depth
from mull.strategies.tree_of_thoughts.thoughts import Proposed, Sampled, Thinker
from mull.types import Aggregation, Answer, Task

PROPOSE = (
    "{question}\n\nSteps so far:\n{steps}\n\n"
    "Propose {n} different next steps, one a line. If no step is missing, reply only: Done"
)
ANSWER = "{question}\n\nFollow these steps, then give the answer:\n{steps}"
VALUE = (
    "{question}\n\nA partial solution:\n{steps}\n\n"
    "Can it lead to the right answer? End your reply with one word: sure, maybe or impossible."
)
VOTE = (
    "{question}\n\nHere are {count} partial solutions.\n\n{states}\n\n"
    "Which of them is the most promising? End your reply with its number."
)


class TreeOfThoughts(StrategyModel):
    """Searches over partial solutions, `expand` thoughts from each, breadth first or depth first.

    Thoughts: with `sample`, next steps of the answer sampled behind its begin; with `propose`, the lines of
    one reply. Values: with `value`, the model's own words on each state, `votes` times (sure 20, maybe 1,
    impossible 0.001, as in the paper, over 20); with `vote`, its choice among the states; with `verifier`,
    a process verifier's score. Search: `bfs` keeps `width` states a level; `dfs` follows the best thought and
    turns back where none is worth more than `threshold`. After `depth` thoughts the best state is finished
    in one go: by writing the answer on, or (`propose`) with the thoughts as a plan. Confidence is the value
    of the answer chosen.
    Cost, breadth first: `1 + width * (depth - 1)` states grown, each by `expand` generations or (`propose`)
    by one, `votes` more for each new state with `value` and for each level with `vote`; and one answer.
    """

    source: ClassVar[str] = (
        "Yao et al. 2023, Tree of Thoughts: Deliberate Problem Solving with Large Language Models, "
        "https://arxiv.org/abs/2305.10601"
    )
    cost_model: ClassVar[str] = (
        "grown = 1 + width * (depth - 1) states by bfs, visits at most by dfs; each takes expand generations "
        "(sample) or 1 (propose), and for its judgement expand * votes (value), expand scores (verifier) or "
        "votes (vote; once a level by bfs); 1 generation for the answer"
    )

    generate: Literal["sample", "propose"] = Field("sample", description="Where thoughts come from.")
    evaluate: Literal["value", "vote", "verifier"] = Field("value", description="What values states.")
    search: Literal["bfs", "dfs"] = Field("bfs", description="Breadth first or depth first.")
    depth: int = Field(3, ge=1, le=100, description="Thoughts before the answer is finished, at most.")
    expand: int = Field(5, ge=1, le=64, description="Thoughts from each state.")
    width: int = Field(5, ge=1, le=64, description="States kept on a level (bfs).")
    threshold: float = Field(
        0.02, ge=0, le=1, description="Value up to which a thought is given up (dfs); maybe is 0.05."
    )
    visits: int = Field(100, ge=1, le=10000, description="States grown at most (dfs).")
    votes: int = Field(3, ge=1, le=64, description="How often the model is asked (value, vote).")
    delimiter: str = Field("\n", min_length=1, max_length=32, description="What ends a sampled thought.")
    aggregate: Aggregation = Field("min", description="How a verifier's step scores become one.")
    propose_prompt: str = Field(
        PROPOSE,
        pattern=holding("question", "steps"),
        max_length=4000,
        description="Asks for thoughts: {question}, {steps} so far and how many, {n}.",
    )
    done: str = Field("Done", min_length=1, max_length=100, description="Proposed line: nothing is missing.")
    answer_prompt: str = Field(
        ANSWER,
        pattern=holding("question", "steps"),
        max_length=4000,
        description="Asks for the answer (propose): {question} and {steps}.",
    )
    value_prompt: str = Field(
        VALUE,
        pattern=holding("question", "steps"),
        max_length=4000,
        description="Asks what a state is worth, in the words sure, maybe (or likely) and impossible.",
    )
    vote_prompt: str = Field(
        VOTE,
        pattern=holding("question", "states"),
        max_length=4000,
        description="Asks for the number of the best state: {question}, {states} and their {count}.",
    )

    @property
    def needs(self) -> Needs:
        """Continuing answers to sample thoughts, a process verifier to have them verified."""
        return Needs(
            verifier="process" if self.evaluate == "verifier" else None,
            continues=self.generate == "sample",
        )

    def cost(self) -> Cost:
        """All levels full, or all visits made, and one answer."""
        breadth = self.search == "bfs"
        grown = 1 + self.width * (self.depth - 1) if breadth else self.visits
        drawn = grown * (self.expand if self.generate == "sample" else 1)
        new = grown * self.expand
        asked = {"value": new * self.votes, "vote": (self.depth if breadth else grown) * self.votes}
        verified = self.evaluate == "verifier"
        return Cost(generations=drawn + asked.get(self.evaluate, 0) + 1, scores=new + 1 if verified else 0)

    async def __call__(self, task: Task, run: Run) -> Answer:
        """Search, finish, rank."""
        root, thinker = await run.start(), self._thinker()
        found = await self._search(thinker)(root, run)
        whole = any(answer.complete for answer in found.answers)
        rest = thinker.rest(found.partial) if self.generate == "sample" or not whole else []
        return await conclude(run, [*found.answers, *rest], found.scores)

    def _thinker(self) -> Thinker:
        if self.generate == "sample":
            return Sampled(delimiter=self.delimiter)
        return Proposed(propose=self.propose_prompt, answer=self.answer_prompt, done=self.done)

    def _judge(self) -> Judge:
        if self.evaluate == "verifier":
            return ByVerifier(aggregate=self.aggregate)
        if self.evaluate == "vote":
            return ByVote(prompt=self.vote_prompt, votes=self.votes)
        return ByValue(prompt=self.value_prompt, votes=self.votes)

    def _search(self, thinker: Thinker) -> Breadth | Depth:
        judge = self._judge()
        if self.search == "bfs":
            return Breadth(
                thinker=thinker, judge=judge, expand=self.expand, depth=self.depth, width=self.width
            )
        return Depth(
            thinker=thinker,
            judge=judge,
            expand=self.expand,
            depth=self.depth,
            threshold=self.threshold,
            visits=self.visits,
        )
