"""Samples of a problem, gathered from all rollouts of it and told apart."""

import os
import random
from collections.abc import Iterable
from typing import Any

from mull.training.data.rows import Rollout, Sample
from mull.training.errors import TrainingError


def merged(rollouts: Iterable[Rollout]) -> list[Rollout]:
    """One rollout a problem, with the samples of all rows of it, in the order of their first rows.

    Raises:
        TrainingError: two rows of a problem have different prompts.
    """
    found: dict[str, Rollout] = {}
    for rollout in rollouts:
        first = found.setdefault(rollout.problem, rollout)
        if first is rollout:
            continue
        if first.prompt != rollout.prompt:
            raise TrainingError(f"rollouts of problem {rollout.problem!r} have different prompts")
        found[rollout.problem] = first.model_copy(update={"samples": [*first.samples, *rollout.samples]})
    return list(found.values())


def judged(rollouts: Iterable[Rollout]) -> list[Rollout]:
    """Merged rollouts, of which some sample is known to be right or wrong.

    Raises:
        TrainingError: there is no such sample.
    """
    found = merged(rollouts)
    if not any(sample.right is not None for rollout in found for sample in rollout.samples):
        raise TrainingError("no sample is known to be right or wrong: the problems have no reference answers")
    return found


def liked(rollouts: Iterable[Rollout], *, threshold: float = 0.5, margin: float = 0.0) -> list[Rollout]:
    """Rollouts in which a score takes the place of the truth: `right` is whether it is above a threshold.

    Samples less than half of `margin` away from `threshold` are neither right nor wrong.

    Raises:
        TrainingError: a sample has no score.
    """
    return [
        rollout.model_copy(
            update={
                "samples": [
                    sample.model_copy(update={"right": _liked(score(rollout, sample) - threshold, margin)})
                    for sample in rollout.samples
                ]
            }
        )
        for rollout in rollouts
    ]


def _liked(difference: float, margin: float) -> bool | None:
    return None if abs(difference) < margin / 2 else difference > 0


def rate(rollout: Rollout) -> float | None:
    """Share of the judged samples that are right, cut-off ones included; None when none is judged."""
    verdicts = [sample.right for sample in rollout.samples if sample.right is not None]
    return sum(verdicts) / len(verdicts) if verdicts else None


def distinct(samples: Iterable[Sample]) -> list[Sample]:
    """Finished, non-empty samples, the first of those whose text differs in case and spacing only."""
    found: dict[str, Sample] = {}
    for sample in samples:
        text = " ".join(sample.text.casefold().split())
        if text and sample.finish == "stop":
            found.setdefault(text, sample)
    return list(found.values())


def right_and_wrong(rollout: Rollout, rng: random.Random) -> tuple[list[Sample], list[Sample]]:
    """The distinct finished samples that are right and that are wrong, each in random order."""
    samples = distinct(rollout.samples)
    rng.shuffle(samples)
    return [s for s in samples if s.right is True], [s for s in samples if s.right is False]


def shared(first: str, second: str) -> int:
    """Length of the common beginning of two texts, in characters."""
    # Texts, not paths: characters are what is to be shared.
    return len(os.path.commonprefix([first, second]))  # noqa: RUF071


def random_of(seed: int, rollout: Rollout) -> random.Random:
    """A source of its own for each problem, so that one more problem changes no other's choices."""
    return random.Random(f"{seed}/{rollout.problem}")


def likelihood(rollout: Rollout, sample: Sample) -> float:
    """Log-probability a token.

    Raises:
        TrainingError: the sample has none, or its length is unknown.
    """
    if sample.logprob is None or sample.tokens is None:
        raise TrainingError(
            f"a sample of problem {rollout.problem!r} lacks `logprob` or `tokens`, which are needed here"
        )
    return sample.logprob / max(1, sample.tokens)


def score(rollout: Rollout, sample: Sample) -> float:
    """What a verifier or judge gave.

    Raises:
        TrainingError: the sample has no score.
    """
    if sample.score is None:
        raise TrainingError(f"a sample of problem {rollout.problem!r} has no `score`")
    return sample.score


def source(kind: str, rollout: Rollout, **facts: Any) -> dict[str, Any]:
    """Provenance of a row that was made of a rollout's samples."""
    return {"kind": kind, "rollout": rollout.source, **facts}
