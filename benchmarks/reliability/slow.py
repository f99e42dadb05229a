"""Clients that dawdle: heads and bodies that trickle, connections that are half closed. Others are served."""

from __future__ import annotations

import argparse
import asyncio
import random
import time

import aiohttp
from benchmarks.reliability.figures import hold, quantiles, require, table
from benchmarks.reliability.servers import Server, at_work, serving
from benchmarks.reliability.traffic import Outcome, ask, body, counted, crowd, questions
from benchmarks.reliability.wire import Connection, connect, dropped, request, send

HEAD, BODY = 20.0, 60.0
"""Seconds in which the server wants heads and bodies; what comes after an answer has as long as a head."""
GRACE = 10.0
"""Seconds that dropping them may take beyond that, on a busy machine."""
PACE = 2.0
"""Seconds between two bytes of a client that dawdles."""


def options(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--scripted", action="store_true", help="a scripted model instead of vLLM")
    parser.add_argument("--clients", type=int, default=400, help="of each kind")


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    questions()
    async with serving(scripted=options.scripted) as server, crowd() as session:
        rng = random.Random(0)
        alone = await _others(server, session, rng, 10.0)
        before = hold(server.process)[1]
        kinds = {"nothing": _nothing, "head trickles": _head, "body trickles": _body, "half closed": _half}
        async with asyncio.TaskGroup() as group:
            dawdling = {
                name: [group.create_task(kind(server)) for _ in range(options.clients)]
                for name, kind in kinds.items()
            }
            await asyncio.sleep(5)
            most = hold(server.process)[1]
            served = await _others(server, session, rng, 60.0)
        await session.close()
        await asyncio.sleep(3)
        after = hold(server.process)[1]
        table(
            ("others", "requests", "p50, s", "p90, s", "p99, s", "most, s"),
            [
                ("alone", counted(alone), *quantiles([o.seconds for o in alone]).values()),
                ("meanwhile", counted(served), *quantiles([o.seconds for o in served]).values()),
            ],
        )
        rows = []
        for name, tasks in dawdling.items():
            seconds = [found for task in tasks if (found := task.result()) is not None]
            rows.append((name, f"{len(seconds)} of {options.clients}", *quantiles(seconds).values()))
        table(("dawdling", "dropped", "p50 after, s", "p90, s", "p99, s", "most, s"), rows)
        print(
            f"\nfile descriptors: {before} before, {most} with {4 * options.clients} of them, {after} after"
        )
        async with crowd() as looking:
            left = await at_work(looking, server)
        require(not any(left.values()), f"nothing is left at work: {left}")
        require(not any(o.lost for o in (*alone, *served)), "others are answered")
        require(
            all(task.result() is not None for tasks in dawdling.values() for task in tasks), "all are dropped"
        )
        require(after <= before + 5, "the file descriptors come back")


async def _others(
    server: Server, session: aiohttp.ClientSession, rng: random.Random, seconds: float
) -> list[Outcome]:
    """Clients as they should be, meanwhile."""
    outcomes, until = list[Outcome](), time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            outcomes.append(await ask(session, server, body(rng, ttc={"strategy": "single"})))

    await asyncio.gather(*(client() for _ in range(4)))
    return outcomes


async def _trickle(connection: Connection, data: bytes, seconds: float) -> float | None:
    """Send a byte now and then; seconds until the server has enough of it, None where it has not in time."""
    began, (reader, writer) = time.monotonic(), connection
    gone = asyncio.create_task(dropped(connection, seconds + GRACE))
    try:
        for i in range(len(data)):
            if reader.at_eof() or gone.done():
                break
            writer.write(data[i : i + 1])
            await asyncio.wait({gone}, timeout=PACE)
        answer = await gone
        return None if answer is None else time.monotonic() - began
    finally:
        writer.transport.abort()


async def _nothing(server: Server) -> float | None:
    return await _trickle(await connect(server), b"", HEAD)


async def _head(server: Server) -> float | None:
    return await _trickle(await connect(server), request({})[0], HEAD)


async def _body(server: Server) -> float | None:
    connection = await connect(server)
    head, text = request(body(random.Random(0)))
    connection[1].write(head)
    return await _trickle(connection, text, BODY + HEAD)


async def _half(server: Server) -> float | None:
    """Ask for something long, and close one half of the connection."""
    asked = body(random.Random(0), stream=False, ttc={"strategy": "majority_vote", "n": 8})
    connection = await send(server, asked)
    connection[1].write_eof()
    began = time.monotonic()
    answer = await dropped(connection, GRACE + BODY)
    connection[1].transport.abort()
    return None if answer is None else time.monotonic() - began
