"""Measure mull against what its engine can give, write docs/performance.md and its plots.

    python -m benchmarks.performance [--rounds 5] [--only 1 2 ...] [--draw]

The ways to be compared take turns within one run, and ratios are made round by round: they hold on a busy
machine too, where the seconds themselves mean little.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import uvloop
from benchmarks.performance import page, plots, results
from benchmarks.performance.measures import INSIDE, NEIGHBOURS, OUTSIDE
from benchmarks.performance.stage import staged

INSTALL = Path(__file__).parent / "neighbours" / "install"


def main() -> int:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.performance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = sorted((*INSIDE, *OUTSIDE))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", type=int, nargs="+", choices=known, default=known, metavar="MEASURE", help="all by default"
    )
    parser.add_argument(
        "--draw", action="store_true", help="only make the page and its plots from what was measured"
    )
    options = parser.parse_args()
    # As on Ctrl-C, so that no server is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if NEIGHBOURS & {*options.only} and not options.draw:
        subprocess.run(INSTALL, check=True)
    if not options.draw:
        uvloop.run(measure(options.only, options.rounds))
    page.write(results.read())
    plots.draw(results.read())
    return 0


async def measure(only: list[int], rounds: int) -> None:
    """Those that compare within one process, then those that start servers."""
    if inside := [number for number in INSIDE if number in only]:
        async with staged() as stage:
            for number in inside:
                await keep(number, rounds, await INSIDE[number](stage, rounds))
    for number in OUTSIDE:
        if number in only:
            await keep(number, rounds, await OUTSIDE[number](rounds))


async def keep(number: int, rounds: int, found: results.Found) -> None:
    """Show what was found, and remember it."""
    for line in page.rows([figure.as_json() for figure in found.figures]):
        print(line, flush=True)
    await asyncio.to_thread(results.keep, number, rounds, found)


if __name__ == "__main__":
    sys.exit(main())
