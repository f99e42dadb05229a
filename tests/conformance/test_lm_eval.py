"""An evaluation harness measures mull through its API, and its score is the right one."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.conformance.conftest import HERE, ROOT, Clients, example

from mull.answers import Answers

TASKS = HERE / "lm_eval"
PROBLEMS = [json.loads(line) for line in (TASKS / "problems.jsonl").read_text().splitlines()]


async def solved(given: Mapping[int, str]) -> int:
    """How many problems were solved, as mull judges answers."""
    async with Answers() as answers:
        right = 0
        for number, problem in enumerate(PROBLEMS):
            found = await answers.extract(given[number], "boxed")
            right += found is not None and await answers.equal(found, problem["answer"])
    return right


@pytest.mark.slow
def test_lm_eval_reports_what_the_answers_deserve(clients: Clients, url: str, tmp_path: Path) -> None:
    # The command is that of docs/integrations.md, run beside a copy of the task.
    shutil.copytree(TASKS, tmp_path / TASKS.relative_to(ROOT))
    clients.run(["bash", "-euc", example("lm-eval", "sh", url)], cwd=tmp_path)
    (results,) = tmp_path.rglob("results_*.json")
    (samples,) = tmp_path.rglob("samples_*.jsonl")
    reported = json.loads(results.read_text())["results"]["mull_problems"]["exact_match,boxed"]
    given = {row["doc_id"]: row["resps"][0][0] for row in map(json.loads, samples.read_text().splitlines())}
    assert len(given) == len(PROBLEMS) == 20
    right = asyncio.run(solved(given))
    assert reported == pytest.approx(right / len(PROBLEMS))
    # A sample alone solves six of ten, the best of sixteen eight: far fewer mean that answers were lost.
    assert right >= 10


def test_its_problems_are_the_bundled_ones() -> None:
    from mull.training.bundled.problems import generate, to_row

    assert [to_row(problem) for problem in generate(20260, 20)] == PROBLEMS
