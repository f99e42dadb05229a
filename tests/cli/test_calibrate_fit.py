from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import pytest

from mull.server.calibrate.bins import bin_of, bounds
from mull.server.calibrate.fit import LEVELS, curve, levels
from mull.server.calibrate.policy import Policy, joined
from mull.server.calibrate.table import Cell, Table
from mull.server.calibrate.validate import cross_validated, in_sample

COST = {"cheap": 100.0, "middle": 400.0, "dear": 1600.0}
PROBE = 40.0
EASY, HARD, HOPELESS = 1.0, 0.5, 0.0


def table(chances: Sequence[tuple[float, Sequence[float]]], each: int = 200, seed: int = 0) -> Table:
    """Problems drawn from kinds, each a signal and every cell's chance of solving such a problem."""
    rng = random.Random(seed)
    rows = [(signal, [float(rng.random() < p) for p in ps]) for signal, ps in chances for _ in range(each)]
    rng.shuffle(rows)
    return Table(
        signals=tuple(signal for signal, _ in rows),
        cells=tuple(
            Cell(
                name=name,
                right=tuple(right[i] for _, right in rows),
                alone=(cost,) * len(rows),
                # The cheap and the middle one take the probe's answers, the dear one cannot.
                probed=(cost + (PROBE if name == "dear" else 0.0),) * len(rows),
            )
            for i, (name, cost) in enumerate(COST.items())
        ),
    )


def names(found: Table, policy: Policy, *signals: float) -> list[str]:
    return [found.cells[policy.choice(signal)].name for signal in signals]


WORLD = [(EASY, (1.0, 1.0, 1.0)), (HARD, (0.2, 0.5, 0.9)), (HOPELESS, (0.0, 0.0, 0.0))]


def test_compute_goes_where_it_helps() -> None:
    found = table(WORLD)
    best = levels(curve(found, 5))["xhigh"].policy
    assert names(found, best, EASY, HARD, HOPELESS) == ["cheap", "dear", "cheap"]
    right, tokens = best.outcomes(found)
    assert fmean(right) == pytest.approx(fmean(found.cells[2].right))
    assert fmean(tokens) == pytest.approx((100 + 1640 + 100) / 3)


def test_a_dear_token_buys_nothing_and_a_free_one_everything_useful() -> None:
    found = table(WORLD)
    first, *_, last = curve(found, 5)
    assert (first.policy, first.tokens) == (Policy(cells=(0,)), 100.0)
    assert not first.policy.probes
    assert names(found, last.policy, HARD) == ["dear"]


def test_where_all_problems_are_alike_no_probe_is_paid_for() -> None:
    found = table([(signal, (0.2, 0.5, 0.9)) for signal in (EASY, HARD, HOPELESS)])
    best = levels(curve(found, 5))["xhigh"]
    assert best.policy == Policy(cells=(2,))
    assert best.tokens == 1600.0


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_rises_and_the_levels_climb_it(seed: int) -> None:
    found = table([(1.0, (0.9, 0.95, 0.97)), (0.6, (0.5, 0.7, 0.8)), (0.2, (0.1, 0.3, 0.6))], 100, seed)
    points = curve(found, 5)
    assert len(points) > 3
    assert all(a.tokens < b.tokens and a.accuracy < b.accuracy for a, b in pairwise(points))
    reached = levels(points)
    assert list(reached) == ["low", "medium", "high", "xhigh"]
    tokens = [point.tokens for point in reached.values()]
    assert tokens == sorted(tokens)
    base, best = points[0].accuracy, points[-1].accuracy
    for effort, point in reached.items():
        assert point.accuracy >= base + LEVELS[effort] * (best - base) - 1e-9


def counted(bins: Sequence[tuple[float, int, int, int]]) -> Table:
    """Two cells that both solve half of each bin's problems, but for the dear one's wins and losses."""
    signals: list[float] = []
    cheap: list[float] = []
    dear: list[float] = []
    for signal, count, wins, losses in bins:
        assert wins + losses <= count // 2
        same = count - wins - losses
        signals += [signal] * count
        cheap += [0.0] * wins + [1.0] * losses + [float(i % 2) for i in range(same)]
        dear += [1.0] * wins + [0.0] * losses + [float(i % 2) for i in range(same)]
    n = len(signals)
    cells = [("cheap", cheap, 100.0), ("dear", dear, 1600.0)]
    return Table(
        signals=tuple(signals),
        cells=tuple(
            Cell(name=name, right=tuple(right), alone=(cost,) * n, probed=(cost,) * n)
            for name, right, cost in cells
        ),
    )


@pytest.mark.parametrize(
    ("wins", "losses", "chosen"), [(22, 18, "cheap"), (30, 2, "dear"), (6, 0, "dear"), (0, 6, "cheap")]
)
def test_what_is_not_distinguishable_is_not_paid_for(wins: int, losses: int, chosen: str) -> None:
    found = counted([(EASY, 100, wins, losses)])
    assert names(found, levels(curve(found, 5))["xhigh"].policy, EASY) == [chosen]


@pytest.mark.parametrize(("wins", "losses", "chosen"), [(2, 1, "dear"), (0, 8, "cheap")])
def test_harder_problems_get_no_less_unless_the_figures_are_clear(
    wins: int, losses: int, chosen: str
) -> None:
    # By itself, two wins and a loss among 40 problems would not be worth the dear cell.
    found = counted([(EASY, 200, 0, 0), (HARD, 200, 80, 0), (HOPELESS, 40, wins, losses)])
    last = curve(found, 5)[-1].policy
    assert names(found, last, EASY, HARD, HOPELESS) == ["cheap", "dear", chosen]


def test_out_of_fold_chance_gives_no_gain() -> None:
    inside, outside = [], []
    for seed in range(20):
        found = table([(signal, (0.5, 0.5, 0.5)) for signal in (EASY, HARD, HOPELESS)], 40, seed)
        base = fmean(found.cells[0].right)
        inside.append(fmean(in_sample(found, 5)["xhigh"].right) - base)
        held = cross_validated(found, 5, folds=5, seed=seed)["xhigh"]
        outside.append(fmean(held.right) - base)
    assert fmean(inside) > 0.02
    # Twenty tables of 120 problems: the mean difference has a standard error of about 0.01.
    assert abs(fmean(outside)) < 0.03


def test_out_of_fold_a_real_gain_remains() -> None:
    held = cross_validated(table(WORLD), 5, folds=5, seed=1)["xhigh"]
    assert fmean(held.right) > 0.57
    assert fmean(held.tokens) < 800


def test_more_folds_than_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="folds must be from 2 to the number of problems, 9, not 10"):
        cross_validated(table(WORLD, 3), 5, folds=10, seed=0)


def test_a_signal_of_few_values_gets_a_bin_for_each() -> None:
    signals = [1.0] * 50 + [0.75] * 30 + [0.5] * 30 + [0.25] * 20 + [0.0] * 20
    lower = bounds(signals, 5)
    assert lower == (0.875, 0.625, 0.375, 0.125, 0.0)
    assert [bin_of(s, lower) for s in (1.0, 0.75, 0.5, 0.25, 0.0)] == [0, 1, 2, 3, 4]


def test_a_small_bin_is_joined_with_a_harder_one() -> None:
    assert bounds([1.0] * 50 + [0.75] * 3 + [0.5] * 40 + [0.0] * 4, 5) == (0.875, 0.0)


def test_a_continuous_signal_is_cut_into_equal_bins() -> None:
    rng = random.Random(0)
    signals = [rng.random() for _ in range(500)]
    lower = bounds(signals, 4)
    sizes = [sum(bin_of(s, lower) == b for s in signals) for b in range(4)]
    assert sizes == [125] * 4
    assert lower[-1] == 0


@pytest.mark.parametrize("signals", [[0.5], [0.5] * 300, [0.1 * i for i in range(9)]])
def test_too_little_to_tell_apart_is_one_bin(signals: list[float]) -> None:
    assert bounds(signals, 5) == (0.0,)


def test_bins_that_choose_the_same_are_joined() -> None:
    policy = Policy(lower=(0.8, 0.6, 0.4, 0.0), cells=(1, 1, 2, 2))
    assert joined(policy) == Policy(lower=(0.6, 0.0), cells=(1, 2))
    assert not joined(Policy(lower=(0.5, 0.0), cells=(1, 1))).probes
