"""`mull bench --all`: one or two runs of every strategy that a server offers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mull.errors import one_of
from mull.server.bench.offered import Offer
from mull.server.bench.spec import RunSpec, parse_run

RUNS: Mapping[str, Sequence[str]] = {
    "single": ["single:greedy=true", "single"],
    "majority_vote": ["majority_vote:n=16", "majority_vote:n=64"],
    "best_of_n": ["best_of_n:n=16", "best_of_n:n=64"],
    "weighted_best_of_n": ["weighted_best_of_n:n=16"],
    "adaptive_consistency": ["adaptive_consistency:n=64"],
    "early_stopping": ["early_stopping:n=64,window=5"],
    "confidence": [
        "confidence:n=16,label=confidence offline",
        'confidence:mode="online",n=16,warmup=8,window=8,span=32,label=confidence online',
    ],
    "speculative_rejection": ["speculative_rejection:n=16,span=16"],
    "beam_search": [
        "beam_search:width=4,expand=4,prune=0.3,label=beam_search 4×4 pruned",
        "beam_search:width=8,expand=8,prune=0.3,label=beam_search 8×8 pruned",
    ],
    "dvts": ["dvts:n=16,width=4"],
    "particle_filtering": ["particle_filtering:n=16"],
    "self_verify": ["self_verify:n=8", "self_verify:n=8,vote=true,label=self_verify vote"],
    "early_exit": [
        'early_exit:delimiter="\\n",probe="The answer is \\\\boxed{",closing="The answer is \\\\boxed{",'
        "agree=2,label=early_exit"
    ],
    "rerank": ["rerank:n=8"],
    "tree_of_thoughts": ['tree_of_thoughts:evaluate="verifier",depth=12,expand=4,width=4'],
}
"""What to measure of a strategy, as `parse_run` reads it; one that is not here runs with its defaults."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which strategies the command line asks for."""

    only: Collection[str] = ()
    """These alone; all of them when empty."""
    skip: Collection[str] = ()


def suite(
    offers: Mapping[str, Offer], model: str, selection: Selection
) -> tuple[list[RunSpec], dict[str, str]]:
    """The runs of all strategies selected, and why each of the others has none.

    Raises:
        ValueError: a selected strategy is unknown to the server.
    """
    for name in (*selection.only, *selection.skip):
        if name not in offers:
            raise ValueError(f"unknown strategy {name!r}; this server has {one_of(offers)}")
    model, _, _ = model.partition("+")
    runs: list[RunSpec] = []
    skipped: dict[str, str] = {}
    for name in [*(n for n in RUNS if n in offers), *sorted(offers.keys() - RUNS.keys())]:
        if selection.only and name not in selection.only:
            continue
        why = "left out by --skip" if name in selection.skip else _missing(offers[name], model)
        if why:
            skipped[name] = why
        else:
            runs += [parse_run(text) for text in RUNS.get(name, [name])]
    # Named before the sampling that all have in common is added, which would only lengthen the labels.
    return [replace(run, name=run.label) for run in runs], skipped


def _missing(offer: Offer, model: str) -> str | None:
    """Why a strategy cannot be measured without being told more; None where it can."""
    if offer.required and offer.name not in RUNS:
        return f"has no default for {' and '.join(offer.required)}; give it with --run"
    return offer.missing(model)
