"""What a request demands of its answer, whatever strategy finds it."""

from __future__ import annotations

from dataclasses import replace

from mull.answers.splitter import split
from mull.errors import EngineUnavailable
from mull.form import Form
from mull.protocols import Generator
from mull.run import Run
from mull.strategies.ranking import read
from mull.types import Answer, Candidate, Choice, Prompt, VerifierKind


async def demanded(answer: Answer, run: Run, *, steps: bool) -> Answer:
    """The answer with the choices first that are as the request demands.

    Where there are none, one more is sampled under the engine's constraint if the strategy grew its answers
    in steps, which no constraint fits, and nothing has been streamed yet.

    Args:
        answer: What a strategy found.
        run: The run that found it.
        steps: Whether it grew answers step by step.
    """
    form = run.task.form
    if not form.demanding:
        return answer
    fits = await run.fitting([choice.candidate for choice in answer.choices])
    choices = [replace(choice, fits=fit) for choice, fit in zip(answer.choices, fits, strict=True)]
    if steps and not any(fits) and (form.call or form.json is not None) and not run.committed:
        choices = [*await _constrained(run), *choices]
    choices.sort(key=lambda c: (not c.candidate.text.startswith(run.committed), not c.fits))
    same = choices[0].candidate is answer.best.candidate
    return Answer(choices=tuple(choices), confidence=answer.confidence if same else choices[0].score)


async def _constrained(run: Run) -> list[Choice]:
    sampling = replace(run.task.sampling, form=run.task.form.demanded())
    drawn = await run.collect(await run.start(), sampling=sampling, kind="constrained")
    return await read(run, drawn) if drawn else []


def judged(candidate: Candidate, form: Form, kind: VerifierKind) -> Candidate:
    """What a verifier is shown of a candidate: the content of an answer that was written in one go.

    An answer that grows step by step is judged as it grows, thoughts included, by verifiers of steps.
    """
    whole = candidate.complete and (kind != "process" or len(candidate.steps) == 1)
    if form.thoughts is None or not whole:
        return candidate
    content = split(candidate.text, Form(thoughts=form.thoughts, begun=form.begun)).content
    return replace(
        candidate, steps=(content,), prompt=Prompt(chat=candidate.prompt.chat, text=content), logprobs=()
    )


async def thought_tokens(choice: Choice, form: Form, generator: Generator) -> int:
    """How many tokens of a choice are thoughts; by their share of its text where there are no token ids."""
    if form.thoughts is None:
        return 0
    candidate = choice.candidate
    text = candidate.text
    if split(text, form).reasoning is None:
        return 0
    _, closed, rest = text.partition(form.thoughts.close)
    thought = text[: len(text) - len(rest)] if closed else text
    share = round(candidate.tokens * len(thought) / len(text))
    if candidate.prompt.ids is None:
        return share
    try:
        prompt = await generator.append(candidate.prompt.root, thought)
    except EngineUnavailable:
        # There is an answer, and nobody left to count with.
        return share
    return min(candidate.tokens, prompt.generated)
