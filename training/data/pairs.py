"""Preferences and labels from samples: pairs, wanted and unwanted answers, and a verifier's rows."""

import random
from collections.abc import Iterable
from itertools import product

from mull.training.bundled.wording import CHECK
from mull.training.data.kinds import Choice
from mull.training.data.rows import (
    Difficulty,
    Message,
    Outcome,
    Preference,
    Rollout,
    Sample,
    Sft,
    Unpaired,
    assistant,
)
from mull.training.data.samples import (
    distinct,
    judged,
    likelihood,
    merged,
    random_of,
    rate,
    right_and_wrong,
    score,
    shared,
    source,
)

Pair = tuple[Sample, Sample]


def preferences(
    rollouts: Iterable[Rollout], *, each: int = 4, choose: Choice = "random", seed: int = 0
) -> list[Preference]:
    """Right samples preferred to wrong ones of the same problem, at most `each` pairs a problem.

    Only distinct, finished samples are paired. With `prefix` a sample is in one pair only; otherwise none is
    used again before all others of its side have been.

    Raises:
        TrainingError: it is not known of any sample whether it is right, or `hardest` finds one without a
            log-probability.
    """
    rows = []
    for rollout in judged(rollouts):
        right, wrong = right_and_wrong(rollout, random_of(seed, rollout))
        if choose == "hardest":
            right.sort(key=lambda sample: likelihood(rollout, sample))
            wrong.sort(key=lambda sample: -likelihood(rollout, sample))
        pairs = _longest_prefix(right, wrong) if choose == "prefix" else _in_turn(right, wrong)
        rows += [_preference(rollout, pair, choose=choose) for pair in pairs[:each]]
    return rows


def scored_preferences(
    rollouts: Iterable[Rollout], *, each: int = 4, margin: float = 0.0
) -> list[Preference]:
    """Samples that a judge scored high preferred to those scored low: best to worst, and so on inwards.

    With a language model as the judge this is the data of RLAIF (Lee et al. 2023, arXiv:2309.00267).

    Args:
        rollouts: samples with a `score`.
        each: most pairs of a problem.
        margin: the least difference of a pair's scores; equal ones are never paired.

    Raises:
        TrainingError: a sample has no score.
    """
    rows = []
    for rollout in merged(rollouts):
        ranked = sorted(distinct(rollout.samples), key=lambda sample: -score(rollout, sample))
        for best, worst in zip(ranked[: min(each, len(ranked) // 2)], reversed(ranked), strict=False):
            difference = score(rollout, best) - score(rollout, worst)
            if difference > 0 and difference >= margin:
                rows.append(_preference(rollout, (best, worst), choose="score", difference=difference))
    return rows


def unpaired(rollouts: Iterable[Rollout], *, each: int = 8, seed: int = 0) -> list[Unpaired]:
    """Wanted (right) and unwanted (wrong) samples, as many of either.

    A problem gives at most half of `each` of a kind. One with samples of one kind only, which makes no pair,
    is used too.

    Raises:
        TrainingError: it is not known of any sample whether it is right.
    """
    sides: dict[bool, list[Unpaired]] = {True: [], False: []}
    for rollout in judged(rollouts):
        right, wrong = right_and_wrong(rollout, random_of(seed, rollout))
        for sample in [*right[: max(1, each // 2)], *wrong[: max(1, each // 2)]]:
            row = Unpaired(
                problem=rollout.problem,
                prompt=rollout.prompt,
                completion=assistant(sample.text),
                label=bool(sample.right),
                source=source("sample", rollout),
            )
            sides[row.label].append(row)
    rng = random.Random(seed)
    count = min(map(len, sides.values()))
    rows = [row for side in sides.values() for row in rng.sample(side, count)]
    rng.shuffle(rows)
    return rows


def outcomes(rollouts: Iterable[Rollout], *, each: int = 8, seed: int = 0) -> list[Outcome]:
    """Right and wrong samples for an outcome reward model, as many of either for each problem.

    So nothing can be learned from the question alone. Problems with samples of one kind only are left out.

    Raises:
        TrainingError: it is not known of any sample whether it is right.
    """
    return [
        Outcome(
            problem=rollout.problem,
            prompt=rollout.prompt,
            completion=assistant(sample.text),
            label=float(bool(sample.right)),
            source=source("sample", rollout),
        )
        for rollout, sample in _balanced(rollouts, each, seed)
    ]


def verdicts(
    rollouts: Iterable[Rollout],
    *,
    each: int = 8,
    question: str = CHECK,
    yes: str = "Yes",
    no: str = "No",
    seed: int = 0,
) -> list[Sft]:
    """Dialogues that teach to say whether an answer is right: as many of either for each problem.

    Only the verdict is learned. A verifier that writes its judgement follows Zhang et al. 2024
    (arXiv:2408.15240).

    Raises:
        TrainingError: it is not known of any sample whether it is right.
    """
    return [
        Sft(
            problem=rollout.problem,
            prompt=[*rollout.prompt, *assistant(sample.text), Message(role="user", content=question)],
            completion=assistant(yes if sample.right else no),
            source=source("verdict", rollout),
        )
        for rollout, sample in _balanced(rollouts, each, seed)
    ]


def difficulties(rollouts: Iterable[Rollout]) -> list[Difficulty]:
    """How often each problem is solved; those of which nothing is known are left out.

    Raises:
        TrainingError: it is not known of any sample whether it is right.
    """
    return [
        Difficulty(problem=rollout.problem, prompt=rollout.prompt, rate=share, source=source("rate", rollout))
        for rollout in judged(rollouts)
        if (share := rate(rollout)) is not None
    ]


def _balanced(rollouts: Iterable[Rollout], each: int, seed: int) -> Iterable[tuple[Rollout, Sample]]:
    for rollout in judged(rollouts):
        right, wrong = right_and_wrong(rollout, random_of(seed, rollout))
        count = min(len(right), len(wrong), max(1, each // 2))
        yield from ((rollout, sample) for sample in [*right[:count], *wrong[:count]])


def _in_turn(right: list[Sample], wrong: list[Sample]) -> list[Pair]:
    if not right or not wrong:
        return []
    return [(right[n % len(right)], wrong[n % len(wrong)]) for n in range(max(len(right), len(wrong)))]


def _longest_prefix(right: list[Sample], wrong: list[Sample]) -> list[Pair]:
    ranked = sorted(
        product(right, wrong),
        key=lambda pair: -shared(pair[0].text, pair[1].text),
    )
    used: set[str] = set()
    pairs = []
    for pair in ranked:
        texts = {sample.text for sample in pair}
        if used.isdisjoint(texts):
            used |= texts
            pairs.append(pair)
    return pairs


def _preference(rollout: Rollout, pair: Pair, **facts: object) -> Preference:
    chosen, rejected = pair
    return Preference(
        problem=rollout.problem,
        prompt=rollout.prompt,
        chosen=assistant(chosen.text),
        rejected=assistant(rejected.text),
        source=source("pair", rollout, **facts),
    )
