"""What a server withstands: each proof starts servers, prints figures, and fails when a promise is broken.

    python -m benchmarks.reliability crowd [--scripted] [--requests 1000]
    python -m benchmarks.reliability soak [--minutes 20]
    python -m benchmarks.reliability kills [--only policy verifier worker replica remote]
    python -m benchmarks.reliability slow [--scripted] [--clients 400]
    python -m benchmarks.reliability leaving [--scripted] [--clients 500]
    python -m benchmarks.reliability disk

`--scripted` measures the server alone, over a scripted model; otherwise vLLM runs the bundled models.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from benchmarks.reliability import crowd, disk, kills, leaving, slow, soak
from benchmarks.reliability.figures import Broken

PROOFS = {"crowd": crowd, "soak": soak, "kills": kills, "slow": slow, "leaving": leaving, "disk": disk}


def main() -> int:
    """Run one proof; the exit status is 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    proofs = parser.add_subparsers(required=True)
    for name, proof in PROOFS.items():
        part = proofs.add_parser(name, help=(proof.__doc__ or "").partition("\n")[0])
        proof.options(part)
        part.set_defaults(run=proof.run)
    options = parser.parse_args()
    try:
        asyncio.run(options.run(options))
    except Broken as broken:
        print(f"\nBROKEN: {broken}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
