from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mull.training.data.problems import Generated, ProblemSource
from mull.training.measure import Case, changes, figures, majority, pass_at, solve
from mull.training.recipes.base import Evaluation

MODELS = Path(__file__).resolve().parents[2] / "models"


def case(right: list[bool], answers: list[str | None] | None = None, greedy: bool = False) -> Case:
    named = answers if answers is not None else ["1" if r else "0" for r in right]
    return Case(greedy, tuple(named), tuple(right))


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_mean_over_all_subsets(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    subsets = list(combinations(right, k))
    assert pass_at(case(right), k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_majority_counts_answers_and_leaves_out_none() -> None:
    assert majority(case([False, False, True, True, True], [None, None, "7", "7", "3"]), 5)
    assert not majority(case([False] * 3, [None] * 3), 3)
    # The first of equals wins.
    assert not majority(case([False, True], ["2", "7"]), 2)
    # Only the first n vote.
    assert not majority(case([False, True, True], ["2", "7", "7"]), 1)


def test_the_difference_is_paired() -> None:
    before = [case([True, False], greedy=n % 2 == 0) for n in range(100)]
    after = [case([True, True], greedy=True) for _ in range(100)]
    found = changes(before, after)
    assert found["greedy"].difference.value == pytest.approx(0.5)
    # Each problem gains half of its samples: no spread is left where the pairs are kept.
    assert found["pass@1"].difference.low == found["pass@1"].difference.high == pytest.approx(0.5)
    assert set(figures(before)) == {"greedy", "pass@1", "majority@2", "pass@2"}


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(300)
def test_the_bundled_policy_is_measured_as_its_card_says(tmp_path: Path) -> None:
    problems = ProblemSource(generate=Generated(seed=900001, count=60))
    how = Evaluation(problems=problems, samples=4, temperature=0.8, max_tokens=160)
    found = figures(solve(MODELS / "policy", how, tmp_path, "before"))
    # 76.2 % of 500 such problems, and 60 % of the samples: five standard deviations wide.
    assert 0.5 < found["greedy"].value < 0.95
    assert 0.35 < found["pass@1"].value < found["pass@4"].value < 1
    # Told again from the file that was kept.
    assert [p.name for p in tmp_path.iterdir()] == ["before.json"]
    assert figures(solve(tmp_path / "no model", how, tmp_path, "before")) == found
