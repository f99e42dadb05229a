"""Comparing and grouping answers, and what hostile ones cannot do."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from mull.answers import Answers
from mull.answers.normal import read, same
from mull.errors import Unavailable

pytestmark = pytest.mark.timeout(300)  # starting a worker is seconds of processor time


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers() -> AsyncIterator[Answers]:
    async with Answers(seconds=2.0) as shared:
        yield shared


IN_PROCESS = [
    ("0.5", "1/2", True),
    ("0.5", r"\frac12", True),
    ("0.5", r"\frac{1}{2}", True),
    ("0.50", r"\dfrac{1}{2}", True),
    ("-0.5", r"-\frac{1}{2}", True),
    (r"\frac{-1}{2}", "-1/2", True),
    ("3/6", "1/2", True),
    ("1,000", "1000", True),
    ("1{,}000", "1000.0", True),
    (r"1\,000", "1000", True),
    (r"10,\!000", "10000", True),
    ("1e3", "1000", True),
    (".5", "0.5", True),
    ("5.", "5", True),
    ("+5", "5", True),
    ("\u22125", "-5", True),
    ("007", "7", True),
    ("1 1/2", "1.5", True),
    (r"1\frac{1}{2}", "3/2", True),
    ("$5$", "5", True),
    (r"\(5\)", "5", True),
    ("0.1", "0.10000000000000000001", False),
    ("0.333", "1/3", False),
    ("5", "-5", False),
    ("1,000", "1", False),
    ("12345678901234567890", "12345678901234567891", False),
    ("1/0", "1/0", True),
    # units
    ("$18", "18", True),
    (r"\$18", "18 dollars", True),
    ("$18", "€18", False),
    ("18 apples", "18", True),
    ("18 apples", "18 apple", True),
    ("18 apples", "18 oranges", False),
    ("18 apples", "19", False),
    (r"5\text{ cm}", "5 cm", True),
    ("5cm", r"5\,\mathrm{cm}", True),
    ("5 cm", "5 km", False),
    ("50%", r"50\%", True),
    ("50%", "50", True),
    ("50%", "0.5", True),
    ("50%", "5", False),
    # words and choices
    (r"\text{(B)}", "B", True),
    ("(B)", "B", True),
    ("(A)", "(B)", False),
    ("Paris", "paris", True),
    ("Paris", "Paris.", True),
    (r"\text{yes}", "Yes", True),
    ("listen", "silent", False),
    ("no solution", "solution: none", False),
    ("a  b", "a b", True),
    ("word", "5", False),
    # JSON
    ('{"a":1}', '{"a":1}', True),
    ('{"a":1}', '{"a":2}', False),
    ("", "", True),
]

ALGEBRA = [
    (r"\sqrt{8}", r"2\sqrt{2}", True),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
    ("x^2-1", "(x-1)(x+1)", True),
    ("2^{10}", "1024", True),
    ("2**10", "1024", True),
    ("pi/2", r"\frac{\pi}{2}", True),
    ("x = 5", "5", True),
    ("x = 5", "y = 5", False),
    ("x+1", "y+1", False),
    ("1, 2", "2,1", True),
    (r"\{1,2\}", r"\{2, 1\}", True),
    (r"\{1,2\}", r"\{1, 3\}", False),
    ("(1, 2)", "(1,2)", True),
    ("(1,2)", "(2,1)", False),
    ("(3,1)", "(5,2)", False),
    ("[1,2]", "(1,2)", False),
    ("[1,2)", r"\left[1, 2\right)", True),
    (r"[2,\infty)", r"x \geq 2", True),
    (r"(-\infty,1)\cup(2,\infty)", r"(2,\infty)\cup(-\infty,1)", True),
    ("1<x<2", "(1,2)", True),
    (r"90^\circ", "90", True),
    (r"5\sqrt{2}\text{ cm}", r"5\sqrt{2}", True),
    ("3+4i", "4i+3", True),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", True),
    ("5xy", "5", False),
    ("5 million", "5", False),
    (r"\frac{1}{3}", r"\sqrt{2}", False),
    ("{{", "}}", False),
    (r"\frac{", "5", False),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("a", "b", "expected"), IN_PROCESS)
async def test_decides_plain_answers_without_algebra(a: str, b: str, expected: bool) -> None:
    assert same(read(a), read(b)) is expected
    assert same(read(b), read(a)) is expected


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("a", "b", "expected"), ALGEBRA)
async def test_compares_mathematics(answers: Answers, a: str, b: str, expected: bool) -> None:
    assert same(read(a), read(b)) is None or same(read(a), read(b)) is expected
    assert await answers.equal(a, b) is expected
    assert await answers.equal(b, a) is expected
    assert await answers.equal(a, a)


@pytest.mark.asyncio(loop_scope="module")
async def test_long_answers_compare_as_strings(answers: Answers) -> None:
    long = "1+" * 1500 + "1"
    assert await answers.equal(long, long)
    assert not await answers.equal(long, "1501")


@pytest.mark.asyncio(loop_scope="module")
async def test_groups_by_meaning_and_lets_none_abstain(answers: Answers) -> None:
    given = ["1/2", None, "0.5", "2", r"\frac12", "B", r"\text{(B)}", None, r"\sqrt{4}"]
    assert await answers.group(given) == [0, None, 0, 1, 0, 2, 2, None, 1]
    assert await answers.group([]) == []
    assert await answers.group([None, None]) == [None, None]


@pytest.mark.asyncio(loop_scope="module")
async def test_unparsable_answers_do_not_vote_together(answers: Answers) -> None:
    assert await answers.group([r"\frac{", r"\sqrt{", "}{", r"\frac{"]) == [0, 1, 2, 0]


@pytest.mark.asyncio(loop_scope="module")
async def test_classes_do_not_depend_on_the_order(answers: Answers) -> None:
    pool = [
        "18",
        "$18",
        "18 apples",
        r"\sqrt{4}",
        "2",
        "x=2",
        "50%",
        "0.5",
        "7",
        None,
        "(1,2)",
        "(2,1)",
        "yes",
        "Yes",
    ]
    pool += [f"{i}/7" for i in range(5)]
    rng = random.Random(0)
    expected: set[frozenset[str]] | None = None
    for _ in range(10):
        rng.shuffle(pool)
        classes: dict[int, set[str]] = {}
        numbered = await answers.group(pool)
        for answer, number in zip(pool, numbered, strict=True):
            if answer is None:
                assert number is None
            else:
                assert number is not None
                classes.setdefault(number, set()).add(answer)
        firsts = list(dict.fromkeys(n for n in numbered if n is not None))
        assert firsts == sorted(firsts) == list(range(len(firsts)))
        found = {frozenset(c) for c in classes.values()}
        assert expected in (None, found)
        expected = found


@given(st.lists(st.fractions(max_denominator=50) | st.none(), max_size=30))
def test_fractions_group_by_value(values: list[object]) -> None:
    grouped = asyncio.run(Answers().group([None if v is None else str(v) for v in values]))
    pairs = list(zip(values, grouped, strict=True))
    assert all((v is None) == (g is None) for v, g in pairs)
    assert all((v == w) == (g == h) for v, g in pairs for w, h in pairs)


@given(st.text(max_size=40), st.text(max_size=40))
def test_reading_never_raises_and_is_symmetric(a: str, b: str) -> None:
    assert same(read(a), read(b)) == same(read(b), read(a))
    assert same(read(a), read(a)) is True


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "unit", ["{", "$", "\\text{", "1", "1,", " ", "a ", "\\frac", "-", "(", "1 ", ",000", "\\"]
)
async def test_reading_is_linear_in_the_length(unit: str) -> None:
    started = time.process_time()
    for text in (unit * (1_000_000 // len(unit)), unit * (1999 // len(unit))):
        read(text)
    assert time.process_time() - started < 5


# -- hostile answers ---------------------------------------------------------------------------------------

HOSTILE = [
    "9^9^9^9^9",
    "9^{9^{9^{9^{9}}}}",
    "2^{10^{10}}",
    "(" * 40 + "1" + ")" * 40,
    r"\sum_{n=1}^{100000000} \frac{1}{n^2}",
    r"\int_0^1 e^{x^{x^x}} dx",
    r"\sin(" * 60 + "x" + ")" * 60,
    r"\sqrt{" * 200 + "2" + "}" * 200,
    "(((((10^9)!)!)!)!)!",
    "{" * 900 + "}" * 900,
    "{" * 1_000_000,
    r"\begin{pmatrix}" + "1&" * 900 + r"1\end{pmatrix}",
]


class Heartbeat:
    """How often the event loop got round to a trivial task, and what it worked in between at most.

    Work is processor time of the loop's thread: on a crowded machine the clock says little about the loop.
    """

    def __init__(self) -> None:
        self.beats = 0
        self.longest = 0.0

    async def __aenter__(self) -> Heartbeat:
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.01)
            self.beats += 1
            self.longest = max(self.longest, time.thread_time() - before)


@pytest.mark.asyncio(loop_scope="module")
async def test_hostile_answers_stall_neither_the_loop_nor_the_next_request() -> None:
    async with Answers(workers=1, seconds=0.25) as answers:
        assert await answers.equal(r"\sqrt{8}", r"2\sqrt{2}")  # the worker is up
        async with Heartbeat() as heart:
            for hostile in HOSTILE:
                assert not await answers.equal(hostile, "17")
                assert await answers.equal(r"\sqrt{8}+x", r"2\sqrt{2}+x")
                answers._known.clear()
        assert heart.longest < 0.5
        assert heart.beats > 2 * len(HOSTILE), "the loop waited for the worker"


@pytest.mark.asyncio(loop_scope="module")
async def test_one_group_of_hostile_answers_spends_a_bounded_time() -> None:
    async with Answers(workers=1, seconds=0.2) as answers:
        towers = [f"{i}^{{9^{{9^{{9^{{9}}}}}}}}" for i in range(2, 30)]
        async with Heartbeat() as heart:
            classes = await answers.group([r"\sqrt{8}", r"2\sqrt{2}", *towers, "1", "1.0"])
        assert classes == [0, 0, *range(1, 29), 29, 29]
        assert heart.longest < 0.5


@pytest.mark.asyncio(loop_scope="module")
async def test_many_distinct_formulas_do_not_hold_up_the_loop(answers: Answers) -> None:
    formulas = [f"x^{{{i}}}" for i in range(60)]
    async with Heartbeat() as heart:
        assert await answers.group(formulas) == list(range(60))
        assert await answers.group([str(i) for i in range(2000)]) == list(range(2000))
    assert heart.longest < 0.5


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _address_space(pid: int) -> str:
    limits = Path(f"/proc/{pid}/limits").read_text()
    return next(line.split()[3] for line in limits.splitlines() if "address space" in line)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_worker_is_replaced() -> None:
    async with Answers(workers=1) as answers:
        assert await answers.equal(r"\sqrt{8}", r"2\sqrt{2}")
        process = answers._judge._workers[0]._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        assert await answers.equal(r"\sqrt{18}", r"3\sqrt{2}")
        [successor] = answers._judge._workers
        assert successor._process is not None
        assert successor._process.pid != process.pid
        [child] = _children(successor._process.pid)
        os.kill(child, signal.SIGKILL)
        assert await answers.equal(r"\sqrt{32}", r"4\sqrt{2}") in (
            True,
            False,
        )  # the request it died on is lost
        assert await answers.equal(r"\sqrt{50}", r"5\sqrt{2}")


@pytest.mark.asyncio(loop_scope="module")
async def test_memory_is_limited() -> None:
    async with Answers(workers=1, seconds=5.0, memory=400 << 20) as answers:
        assert await answers.equal(r"\sqrt{8}", r"2\sqrt{2}")
        worker = answers._judge._workers[0]._process
        assert worker is not None
        [child] = _children(worker.pid)
        assert {_address_space(pid) for pid in (worker.pid, child)} == {str(400 << 20)}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cancelled_comparison_leaves_the_worker_usable(answers: Answers) -> None:
    asking = asyncio.create_task(answers.equal(HOSTILE[4], "17"))
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    pairs = [(rf"\sqrt{{{2 * i * i}}}", rf"{i}\sqrt{{2}}") for i in range(2, 12)]
    assert await asyncio.gather(*(answers.equal(a, b) for a, b in pairs)) == [True] * 10


@pytest.mark.asyncio(loop_scope="module")
async def test_closing_ends_a_comparison_under_way() -> None:
    answers = Answers(workers=1, seconds=30.0)
    assert await answers.equal(r"\sqrt{8}", r"2\sqrt{2}")
    asking = asyncio.create_task(answers.equal(HOSTILE[4], "17"))
    await asyncio.sleep(0.1)
    await answers.close()
    assert await asking is False
    assert not await answers.equal(r"\sqrt{18}", r"3\sqrt{2}"), "closed for good"


@pytest.mark.asyncio(loop_scope="module")
async def test_closing_while_a_worker_starts_ends_it() -> None:
    answers = Answers(workers=1)
    asking = asyncio.create_task(answers.equal(r"\sqrt{8}", r"2\sqrt{2}"))
    [worker] = answers._judge._workers
    while worker._process is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    process = worker._process
    await answers.close()
    await asyncio.gather(asking, return_exceptions=True)
    assert process.returncode is not None
    assert worker._process is None


@pytest.mark.asyncio(loop_scope="module")
async def test_no_time_is_no_algebra(answers: Answers) -> None:
    given = [r"\sqrt{50}", r"5\sqrt{2}", "1/2", "0.5", r"\sqrt{50}"]
    assert await answers.group(given, seconds=0) == [0, 1, 2, 2, 0]
    assert await answers.group(given, seconds=60) == [0, 0, 1, 1, 0]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_that_cannot_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "worker.py"
    broken.write_text("import no_such_module")
    monkeypatch.setattr("mull.answers.judge._SCRIPT", broken)
    async with Answers() as answers:
        with pytest.raises(Unavailable, match="math-verify"):
            await answers.equal(r"\sqrt{8}", r"2\sqrt{2}")
        assert await answers.equal("1/2", "0.5")


@pytest.mark.asyncio(loop_scope="module")
async def test_importing_is_light() -> None:
    code = "import sys, mull.answers; print({'sympy', 'math_verify', 'numpy', 'pytest'} & set(sys.modules))"
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (ran.stdout.strip(), ran.stderr) == ("set()", "")
