"""Many requests at once: each is answered whole, or refused as documented."""

from __future__ import annotations

import argparse
import asyncio
import random
import time

import aiohttp
from benchmarks.reliability.figures import quantiles, require, table, watching
from benchmarks.reliability.servers import Server, at_work, serving
from benchmarks.reliability.traffic import Outcome, ask, body, counted, crowd, questions

TRIES = 20
"""How often a client comes, at most."""


def options(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--scripted", action="store_true", help="a scripted model instead of vLLM")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    questions()
    async with serving(scripted=options.scripted) as server, crowd() as session:
        rng = random.Random(options.seed)
        # What is made once (sockets, caches, worker processes) is no growth.
        await asyncio.gather(*(ask(session, server, body(rng)) for _ in range(50)))
        bodies = [body(rng) for _ in range(options.requests)]
        async with watching(server.processes) as held:
            await asyncio.sleep(2)
            began = time.monotonic()
            tries = await asyncio.gather(*(_client(session, server, asked) for asked in bodies))
            seconds = time.monotonic() - began
            await session.close()
            await asyncio.sleep(3)
        firsts, lasts = [each[0] for each in tries], [each[-1] for each in tries]
        rows = []
        for name, streamed in (("whole", False), ("streamed", True)):
            answered = [o for o in firsts if o.whole and o.streamed is streamed]
            rows.append(
                (f"{name}: answer", len(answered), *quantiles([o.seconds for o in answered]).values())
            )
            if streamed:
                begun = [o.first for o in answered if o.first is not None]
                rows.append(("streamed: first byte", len(begun), *quantiles(begun).values()))
        refused = [o for each in tries for o in each if o.refused]
        rows.append(("refused", len(refused), *quantiles([o.seconds for o in refused]).values()))
        print(f"{options.requests} requests at once, all over after {seconds:.0f} s")
        print(f"first tries: {counted(firsts)}")
        print(f"with retries when Retry-After says: {counted(lasts)}")
        table(("", "requests", "p50, s", "p90, s", "p99, s", "most, s"), rows)
        table(
            ("process", "MB before", "MB at most", "MB after", "descriptors before", "at most", "after"),
            (
                (name, f"{m[0]:.0f}", f"{max(m):.0f}", f"{m[-1]:.0f}", int(f[0]), int(max(f)), int(f[-1]))
                for name, m, f in ((n, held.memory[n], held.files[n]) for n in held.memory)
            ),
        )
        async with aiohttp.ClientSession() as looking:
            left = await at_work(looking, server)
        require(not any(left.values()), f"nothing is left at work: {left}")
        require(not any(o.lost for each in tries for o in each), "each is answered or refused as documented")
        require(all(o.whole for o in lasts), "who comes again when told is answered")


async def _client(session: aiohttp.ClientSession, server: Server, asked: dict[str, object]) -> list[Outcome]:
    """A client that comes again when it is told to, as the stock SDKs do."""
    outcomes: list[Outcome] = []
    for _ in range(TRIES):
        outcomes.append(await ask(session, server, asked))
        if not outcomes[-1].refused:
            break
        await asyncio.sleep(outcomes[-1].retry_after or 1)
    return outcomes
