"""Language models that answer with a verdict token: asked after each step, or once about the whole answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from mull.memory import Memory, prefix_keys
from mull.types import Aggregation, Candidate, Chat, Score, Task, VerifierKind, aggregate
from mull.verifiers.concurrency import together
from mull.verifiers.documents import listed, required
from mull.verifiers.engine import Engine
from mull.verifiers.formats import TokenLogprobs
from mull.verifiers.reading import Reader, sampled_ids
from mull.verifiers.steps import Step, split

Prompts = Sequence[list[int] | None]
"""What a candidate's verdicts are asked after, step by step; None is too long."""

GENRM_PROMPT = "{question}\n\nSolution:\n{answer}\n\nIs the solution correct so far? Answer Yes or No."


class _Verdicts:
    """Asks for verdicts, each distinct prompt once, and remembers them."""

    def __init__(self, engine: Engine, good: int, bad: int, memory: int) -> None:
        self._engine = engine
        self._good = good
        self._bad = bad
        self._memory: Memory[bytes, float] = Memory(memory)

    async def score(self, candidates: Sequence[Prompts], how: Aggregation, *, steps: bool) -> list[Score]:
        """Scores of candidates given by their prompts, in order; 0 without prompts or with a too long one."""
        keyed = [[prefix_keys(p, [len(p)])[0] for p in prompts if p is not None] for prompts in candidates]
        wanted = {
            key: prompt
            for keys, prompts in zip(keyed, candidates, strict=True)
            if None not in prompts
            for key, prompt in zip(keys, prompts, strict=True)
            if prompt is not None
        }
        known = {key: value for key in wanted if (value := self._memory.get(key)) is not None}
        asked = {key: prompt for key, prompt in wanted.items() if key not in known}
        answers = await together(
            self._engine.verdict(prompt, self._good, self._bad) for prompt in asked.values()
        )
        computed = {}
        for key, (value, tokens) in zip(asked, answers, strict=True):
            known[key], computed[key] = value, tokens
            self._memory.put(key, value)
        scores = []
        for keys, prompts in zip(keyed, candidates, strict=True):
            if not keys or None in prompts:
                scores.append(Score(value=0.0))
                continue
            values = tuple(known[key] for key in keys)
            tokens = sum(computed.pop(key, 0) for key in keys)
            scores.append(Score(value=aggregate(values, how), steps=values if steps else (), tokens=tokens))
        return scores


class TokenLogprobsVerifier:
    """A process reward model that is a plain language model: P(good) against P(bad) after each step.

    Follows Math-Shepherd (Wang et al. 2024) and RLHFlow (Dong et al. 2024), by its format. A step's prompt is
    a prefix of the next one's, so vLLM's prefix cache leaves only the new step to compute; verdicts are
    remembered.

    An answer without steps, or longer than the model's context, scores 0 without step scores.

    Args:
        name: The verifier's name.
        engine: Its model, on the generate runner.
        reader: Its tokenizer and chat template.
        format: Layout of the answer and the two tokens.
        delimiter: Where steps end in an answer.
        aggregation: How `Score.value` is made from the steps.
        memory: Verdicts kept at most.

    Raises:
        ValueError: `good` or `bad` is not one token.
    """

    kind: VerifierKind = "process"

    def __init__(
        self,
        name: str,
        engine: Engine,
        reader: Reader,
        *,
        format: TokenLogprobs,
        delimiter: str = "\n",
        aggregation: Aggregation = "min",
        memory: int = 1 << 16,
    ) -> None:
        self.name = name
        self._reader = reader
        self._format = format
        self._delimiter = delimiter
        self._aggregation: Aggregation = aggregation
        self._verdicts = _Verdicts(engine, reader.token(format.good), reader.token(format.bad), memory)

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order; each distinct step is judged once.

        Raises:
            VerifierUnavailable: the engine died or refuses.
            InvalidRequest: the chat cannot be rendered or is too long.
        """
        steps = [split(c.text, self._delimiter) for c in candidates]
        if self._format.turns:
            prompts = await _render(self._reader, [self._format.converse(task.chat, s) for s in steps])
        else:
            prompts = await self._prefixes(task.chat, candidates, steps)
        return await self._verdicts.score(prompts, self._aggregation, steps=True)

    async def _prefixes(
        self, chat: Chat, candidates: Sequence[Candidate], steps: Sequence[Sequence[Step]]
    ) -> list[Prompts]:
        passages = [
            self._format.lay_out(c.text, s, sampled_ids(c)) for c, s in zip(candidates, steps, strict=True)
        ]
        readings = await self._reader.read(chat, passages)
        return [[r.ids[: mark + 1] for mark in r.marks] if r is not None else [None] for r in readings]


class GenerativeVerifier:
    """A language model asked whether an answer is right: P(good) against P(bad) as its reply.

    Follows GenRM (Zhang et al. 2024, Generative Verifiers: Reward Modeling as Next-Token Prediction).

    An empty answer, or one too long for the model's context, scores 0.

    Args:
        name: The verifier's name.
        engine: Its model, on the generate runner.
        reader: Its tokenizer and chat template.
        prompt: The user message; `{question}`, `{answer}` (up to the step judged), `{step}` and `{documents}`
            (what was retrieved for the task, numbered) are filled in.
        lead: How the model's reply begins, just before the verdict token.
        good: The token that approves.
        bad: The token that rejects.
        each: Ask after every `step` (process scores) or once for the `answer` (an outcome score).
        delimiter: Where steps end in an answer.
        aggregation: How `Score.value` is made from the steps.
        memory: Verdicts kept at most.

    Raises:
        ValueError: `good` or `bad` is not one token.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        reader: Reader,
        *,
        prompt: str = GENRM_PROMPT,
        lead: str = "",
        good: str | int = "Yes",
        bad: str | int = "No",
        each: Literal["step", "answer"] = "answer",
        delimiter: str = "\n",
        aggregation: Aggregation = "min",
        memory: int = 1 << 16,
    ) -> None:
        self.name = name
        self.kind: VerifierKind = "process" if each == "step" else "outcome"
        self._reader = reader
        self._prompt = prompt
        self._lead = lead
        self._delimiter = delimiter
        self._aggregation: Aggregation = aggregation
        self._verdicts = _Verdicts(engine, reader.token(good), reader.token(bad), memory)

    async def score(self, task: Task, candidates: Sequence[Candidate]) -> list[Score]:
        """One score a candidate, in order; each distinct question is asked once.

        Raises:
            VerifierUnavailable: the engine died or refuses.
            InvalidRequest: the chat template refuses the prompt, or the prompt has `{documents}` and the task
                has none.
        """
        if "{documents}" in self._prompt:
            required(task, self.name)
        chats = [self._ask(task, split(c.text, self._delimiter)) for c in candidates]
        prompts = await _render(self._reader, chats, self._lead)
        return await self._verdicts.score(prompts, self._aggregation, steps=self.kind == "process")

    def _ask(self, task: Task, steps: Sequence[Step]) -> list[Chat]:
        known = {"question": task.chat.question, "documents": listed(task.documents)}
        texts = [step.text for step in steps]
        ends = range(1, len(texts) + 1) if self.kind == "process" else range(len(texts), len(texts) + 1)
        chats = []
        for end in ends if texts else ():
            fields = {**known, "answer": "".join(texts[:end]), "step": texts[end - 1]}
            content = _fill(self._prompt, {name: text.strip() for name, text in fields.items()})
            chats.append(Chat(messages=({"role": "user", "content": content},), template=task.chat.template))
        return chats


async def _render(reader: Reader, chats: Sequence[Sequence[Chat]], lead: str = "") -> list[Prompts]:
    """Render the conversations of all candidates in one go."""
    flat = iter(await reader.render([chat for row in chats for chat in row], lead))
    return [[next(flat) for _ in row] for row in chats]


def _fill(template: str, fields: dict[str, str]) -> str:
    """Fill in `{name}`s in one pass: braces in the values, and all other braces, are left alone."""
    names = "|".join(fields)
    return re.sub(rf"\{{({names})\}}", lambda match: fields[match[1]], template)
