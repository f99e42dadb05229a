"""How routing behaves with 1 to 1,000 replicas: a simulation with measured costs, checked against reality.

python -m benchmarks.scaling measure     # costs of steps, and searches; two engines, two minutes
python -m benchmarks.scaling check       # the model against two real engines; five minutes
python -m benchmarks.scaling simulate    # 1 to 1,000 replicas; no engine, a quarter of an hour on two cores
python -m benchmarks.scaling draw        # docs/scaling.md and its plots, from what is known
"""

from __future__ import annotations

import argparse
import json
import sys

import uvloop
from benchmarks.scaling import page, plots, results


def main() -> int:
    """Do one part, write, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=("measure", "check", "simulate", "draw"))
    parser.add_argument("--rounds", type=int, default=5, help="of the check")
    parser.add_argument("--most", type=int, default=1000, help="replicas that are simulated")
    options = parser.parse_args()
    found = None
    if options.part == "measure":
        from benchmarks.scaling.measure import measure

        found = uvloop.run(measure())
    elif options.part == "check":
        from benchmarks.scaling.check import check

        found = uvloop.run(check(options.rounds))
    elif options.part == "simulate":
        from benchmarks.scaling.simulate import simulate

        found = simulate(options.most)
    if found is not None:
        print(json.dumps(found, indent=1))
        results.keep(options.part, found)
    page.write(results.read())
    plots.draw(results.read())
    return 0


if __name__ == "__main__":
    sys.exit(main())
