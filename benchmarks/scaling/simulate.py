"""1 to 1,000 replicas, by each way to route, at equal load for each replica."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.scaling import results, work
from benchmarks.scaling.cluster import Cluster, Costs
from benchmarks.scaling.engine import EngineLimits
from benchmarks.scaling.figures import figures
from benchmarks.scaling.routes import ROUTES

SIZES = (1, 2, 4, 16, 64, 256, 1000)
MANY = 256
"""Replicas up to which the higher load, and the least loaded one, are simulated too: it takes long."""
LOADS = (0.5, 0.8)
"""Requests that come, in parts of what one replica manages that is never idle."""
CLIENTS = 12
"""What keeps it busy."""
JOBS = 500
"""For which a simulation goes on, at least."""
SHORTEST, WARM = 3.0, 8.0
"""Seconds that count at least, and before them those that do not."""

AT = 64
"""Replicas where something else is varied."""
SYSTEM, TENANTS = 512, (1, 16, 64, 256, 1024)
"""Tokens of system prompts, and how many of them there are."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One simulation."""

    costs: Costs
    limits: EngineLimits
    replicas: int
    route: str
    rate: float
    """Requests a second and replica."""
    load: float
    tenants: int = 0
    """System prompts; 0: none."""
    by_tenant: bool = False
    """Whether the router looks at the system prompt alone."""
    slower: dict[int, float] = field(default_factory=dict)
    dies: bool = False
    """Whether one of the engines does, in the midst, and comes back after six seconds."""


def simulate(most: int) -> dict[str, Any]:
    """All of it, on all cores; each simulation is determined by its case."""
    known = results.read()
    costs, limits = results.costs(known), results.limits(known)
    capacity = busy(costs, limits)

    def case(load: float, **what: Any) -> Case:
        return Case(costs=costs, limits=limits, rate=load * capacity, load=load, **what)

    sizes = [size for size in SIZES if size <= most]
    at = min(AT, most)
    parts = {
        # The longest first.
        "sizes": [
            case(load, replicas=size, route=route)
            for size in reversed(sizes)
            for load in reversed(LOADS)
            for route in ROUTES
            if size <= MANY or (load == LOADS[0] and route != "least loaded")
        ],
        "tenants": [
            case(LOADS[0], replicas=at, route=route, tenants=count, by_tenant=by_tenant)
            for count in TENANTS
            for route, by_tenant in (("affine", False), ("affine", True), ("round robin", False))
        ],
        "slow": [
            case(LOADS[0], replicas=8, route=route, slower=slower)
            for slower in ({}, {0: 4.0})
            for route in ROUTES
        ],
        "dies": [case(LOADS[0], replicas=8, route=route, dies=True) for route in ROUTES],
    }
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), initializer=gc.disable) as pool:
        made = {name: pool.map(run, cases) for name, cases in parts.items()}
        return {"capacity": capacity, "warm": WARM, "shortest": SHORTEST} | {
            name: list(found) for name, found in made.items()
        }


def busy(costs: Costs, limits: EngineLimits) -> float:
    """Requests a second of one replica that always has some."""
    cluster = Cluster(costs, replicas=1, route=ROUTES["affine"](), limits=limits)
    cluster.clients(work.questions(work.read(), 0), CLIENTS, until=60.0)
    cluster.run()
    return figures(cluster, 5.0, 60.0).goodput


def run(case: Case) -> dict[str, Any]:
    """One simulation; what happens in it depends on nothing but the case."""
    cluster = Cluster(
        case.costs,
        replicas=case.replicas,
        route=ROUTES[case.route](),
        limits=case.limits,
        slower=case.slower,
    )
    rate = case.rate * case.replicas
    until = WARM + max(SHORTEST, JOBS / rate)
    cluster.poisson(_asked(case), rate, until, seed=case.replicas)
    if case.dies:
        cluster.at(WARM, cluster.die, 0, 6.0)
    cluster.run()
    found = asdict(figures(cluster, WARM, until))
    named = {name: getattr(case, name) for name in ("replicas", "route", "load", "tenants", "by_tenant")}
    more = {
        "slow": bool(case.slower),
        "dies": case.dies,
        "failovers": cluster.failovers,
        "preempted": sum(member.engine.preempted for member in cluster.members),
    }
    print(named, found, flush=True)
    return named | more | found


def _asked(case: Case) -> work.Work:
    kinds = work.read()
    if not case.tenants:
        return work.questions(kinds, case.replicas)
    by: Callable[[int, int], object] = (lambda system, _: system) if case.by_tenant else (lambda *both: both)
    return work.tenants(kinds, case.replicas, count=case.tenants, tokens=SYSTEM, by=by)
