"""Measure 6: how long a step search scores, over how long it generates, and how much of that nobody sees."""

from __future__ import annotations

from benchmarks.performance.busy import Clock, Generating, Scoring
from benchmarks.performance.figures import Figure, Found, Spread, Target
from benchmarks.performance.problems import questions, task
from benchmarks.performance.stage import Stage

from mull.run import Run
from mull.strategies.beam_search import BeamSearch

TARGET = Target(bound=0.2, side="at most")
PROBLEMS = 8
"""In each round, one after the other."""


async def measure(stage: Stage, rounds: int) -> Found:
    """For the bundled reward model, and for the verifier that is served by default."""
    figures = []
    asked = questions(2000 + PROBLEMS * (rounds + 1))[2000:]
    for name, what in (("prm", "`models/prm`"), ("solver", "`models/solver`, the default")):
        spent, waited, scored = list[float](), list[float](), list[float]()
        for turn in range(-1, rounds):
            clock, runs = Clock(), list[Run]()
            for question in asked[PROBLEMS * (turn + 1) :][:PROBLEMS]:
                run = Run(
                    task=task(question, turn),
                    generator=Generating(stage.pool, clock),
                    answers=stage.answers,
                    verifier=Scoring(stage.verifiers[name], clock),
                )
                await BeamSearch(width=4, expand=4)(run.task, run)
                runs.append(run)
            if turn >= 0:
                spent.append(clock.of("scoring") / clock.of("generation"))
                waited.append(clock.alone("scoring") / clock.of("generation"))
                scored.append(sum(r.verifier_tokens for r in runs) / sum(r.usage.completion for r in runs))
        note = f"{Spread.of(scored).median:.2f} tokens scored for each generated one"
        figures += [
            Figure(
                measure=6,
                what=f"time in {what} over time in generation",
                value=Spread.of(spent),
                target=TARGET,
                note=note,
            ),
            Figure(
                measure=6, what=f"time in {what} with nothing generated meanwhile", value=Spread.of(waited)
            ),
        ]
    return Found(figures=figures)
