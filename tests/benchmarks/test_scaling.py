"""The model of many replicas keeps to the laws that hold for engines."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.performance.figures import quantile
from benchmarks.performance.page import BEGIN, END
from benchmarks.scaling import page, plots, work
from benchmarks.scaling.cache import BLOCK, Cache, Prefix
from benchmarks.scaling.cluster import Cluster, Costs
from benchmarks.scaling.costs import Step, StepCost, fit
from benchmarks.scaling.engine import Engine, EngineLimits, Generation
from benchmarks.scaling.figures import figures
from benchmarks.scaling.pair import tree
from benchmarks.scaling.routes import ROUTES
from benchmarks.scaling.work import Job, Tree

from mull.trace import Trace
from mull.types import Usage

COSTS = Costs(step=StepCost(base=0.004, decoding=1e-4, begun=5e-4, token=2e-5), request=5e-4, way=1e-3)
CHAIN = Tree(40, ((-1, 5, 0), (0, 7, 0), (1, 3, 0)))


def searches(seed: int = 0, count: int = 12) -> list[Tree]:
    """4x4, five levels."""
    draw = random.Random(seed)
    trees = []
    for _ in range(count):
        steps: list[tuple[int, int, int]] = []
        beams = [-1]
        for _ in range(5):
            parents = [beam for beam in beams for _ in range(16 // len(beams))]
            level = range(len(steps), len(steps) + 16)
            steps += [(parent, draw.randint(3, 40), 0) for parent in parents]
            beams = draw.sample(level, 4)
        trees.append(Tree(draw.randint(20, 90), tuple(steps)))
    return trees


def solved(trees: list[Tree], route: str = "affine", replicas: int = 2, **changes: Any) -> Cluster:
    cluster = Cluster(COSTS, replicas=replicas, route=ROUTES[route](), **changes)
    cluster.clients(work.given(trees), 4)
    cluster.run()
    return cluster


def a_generation(prompt: Prefix, tokens: int) -> Generation[None]:
    return Generation(prompt, Prefix(tokens, prompt), None)


def run_all(engine: Engine[None]) -> tuple[float, int]:
    """Seconds and generations that have ended."""
    seconds, ended = 0.0, 0
    while engine.busy:
        seconds += engine.begin()
        ended += len(engine.end())
    return seconds, ended


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("blocks", [454, 40])
def test_every_request_ends_and_tokens_balance(route: str, replicas: int, blocks: int) -> None:
    trees = searches()
    cluster = solved(trees, route, replicas, limits=EngineLimits(blocks=blocks))
    assert len(cluster.done) == len(trees)
    assert len(cluster.answered) == sum(len(tree.steps) for tree in trees)
    assert sum(each[3] for each in cluster.answered) == sum(t for tree in trees for _, t, _ in tree.steps)
    prompts, cached = sum(each[1] for each in cluster.answered), sum(each[2] for each in cluster.answered)
    computed = sum(member.engine.computed for member in cluster.members)
    preempted = sum(member.engine.preempted for member in cluster.members)
    # A sequence that lost its place is computed again.
    assert computed == prompts - cached if not preempted else computed > prompts - cached
    assert bool(preempted) == (blocks == 40)
    for member in cluster.members:
        assert member.in_flight == 0
        assert member.engine.cache.free == blocks


def test_alone_a_request_takes_its_steps() -> None:
    cluster = solved([Tree(100, ((-1, 10, 0),))], replicas=1)
    prefill, decode = COSTS.step.seconds(0, 1, 100), COSTS.step.seconds(1, 0, 0)
    assert cluster.now == pytest.approx(prefill + 9 * decode + COSTS.request + COSTS.way)


def test_a_step_costs_what_it_does() -> None:
    engine = Engine[None](StepCost(base=1, decoding=10, begun=100, token=1000), EngineLimits())
    engine.waiting += [a_generation(Prefix(40), 2), a_generation(Prefix(50), 1)]
    assert engine.begin() == 1 + 2 * 100 + 90 * 1000
    assert len(engine.end()) == 1
    engine.waiting.append(a_generation(Prefix(7), 1))
    assert engine.begin() == 1 + 10 + 100 + 7 * 1000
    assert len(engine.end()) == 2
    assert not engine.busy


def test_a_slow_engine_is_slow() -> None:
    trees = searches()
    quick, slow = solved(trees, replicas=1), solved(trees, replicas=1, slower={0: 3.0})
    assert quick.now < slow.now <= 3 * quick.now


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        (EngineLimits(), 4),
        (EngineLimits(sequences=2), 8),
        (EngineLimits(tokens=45), 7),  # one prompt a step, beside those that go on
        (EngineLimits(blocks=4), 8),
    ],
)
def test_no_more_at_a_time_than_there_is_room_for(limits: EngineLimits, steps: int) -> None:
    engine = Engine[None](StepCost(base=1), limits)
    engine.waiting += [a_generation(Prefix(40), 4) for _ in range(4)]
    assert run_all(engine) == (steps, 4)


def test_what_can_never_be_done_is_an_error() -> None:
    engine = Engine[None](StepCost(base=1), EngineLimits(blocks=2))
    engine.waiting.append(a_generation(Prefix(100), 4))
    with pytest.raises(ValueError, match="no room for 100 tokens"):
        engine.begin()


def test_one_prompt_is_computed_once() -> None:
    engine = Engine[None](StepCost(base=1), EngineLimits())
    prompt = Prefix(100)
    engine.waiting += [a_generation(prompt, 4) for _ in range(16)]
    run_all(engine)
    assert engine.computed == 100 + 15 * (100 - 3 * BLOCK)


def test_the_last_token_is_computed_in_any_case() -> None:
    engine = Engine[None](StepCost(base=1), EngineLimits())
    prompt = Prefix(2 * BLOCK)
    for _ in range(2):
        engine.waiting.append(a_generation(prompt, 1))
        run_all(engine)
    assert engine.computed == 2 * BLOCK + BLOCK


def test_what_was_generated_is_found_by_what_goes_on_from_it() -> None:
    engine = Engine[None](StepCost(base=1), EngineLimits())
    first = a_generation(Prefix(20), 50)
    engine.waiting.append(first)
    run_all(engine)
    engine.waiting.append(a_generation(first.whole, 5))
    run_all(engine)
    assert engine.computed == 20 + 70 - 2 * BLOCK


def test_cache_gives_away_what_was_unused_for_longest() -> None:
    # Against a plain model of it: prefixes of one block each, held one at a time.
    draw, cache, prefixes = random.Random(1), Cache(8), [Prefix(BLOCK) for _ in range(20)]
    known: OrderedDict[int, None] = OrderedDict()
    for _ in range(500):
        prefix = draw.choice(prefixes)
        assert cache.found(prefix.keys) == (prefix.number in known)
        if prefix.number in known:
            assert cache.take(prefix.keys, 0)
        else:
            assert cache.take((), 1)
            assert cache.fill(prefix.keys) == list(prefix.keys)
            if len(known) == 8:
                known.popitem(last=False)
        cache.release(prefix.keys, 0)
        known[prefix.number] = None
        known.move_to_end(prefix.number)
        assert cache.free == 8


def test_the_end_of_a_prefix_goes_first_and_nothing_that_is_held() -> None:
    cache, long = Cache(4), Prefix(3 * BLOCK)
    assert cache.take((), 3)
    cache.fill(long.keys)
    assert not cache.take((), 2)
    cache.release(long.keys, 0)
    assert cache.take((), 2)
    assert cache.found(long.keys) == 2
    assert not cache.take(long.keys[:2], 1), "two are resting, and wanted"
    assert cache.take(long.keys[:2], 0)
    assert cache.free == 0


def test_prefixes_share_the_blocks_of_what_they_share() -> None:
    question = Prefix(40)
    one, other = Prefix(60, question), Prefix(60, question)
    assert one.end == other.end == 100
    assert one.keys[:1] == question.keys == other.keys[:1]
    assert not {*one.keys[1:]} & {*other.keys[1:]}
    assert len(one.keys) == 100 // BLOCK


def test_with_one_replica_all_ways_are_the_same() -> None:
    found = [figures(solved(searches(), route, 1)) for route in ROUTES]
    assert found[0] == found[1] == found[2]


def test_affinity_finds_more_in_the_cache() -> None:
    affine, turns = (figures(solved(searches(), route, 4)) for route in ("affine", "round robin"))
    assert affine.hit_rate > turns.hit_rate + 0.1
    assert affine.computed < turns.computed


def test_a_larger_cache_finds_no_less() -> None:
    # One after the other, so that the order is the same for all sizes.
    computed = []
    for blocks in (12, 20, 40, 80, 160):
        engine, draw = Engine[None](StepCost(base=1), EngineLimits(blocks=blocks)), random.Random(3)
        prompts = [Prefix(draw.randint(10, 250)) for _ in range(20)]
        for _ in range(200):
            engine.waiting.append(a_generation(draw.choice(prompts), 4))
            run_all(engine)
        computed.append(engine.computed)
    assert computed == sorted(computed, reverse=True)
    assert computed[-1] < computed[0] / 2


def test_more_replicas_are_done_sooner() -> None:
    times = [solved(searches(), "least loaded", count).now for count in (1, 2, 4)]
    assert times == sorted(times, reverse=True)


def test_the_same_seed_is_the_same_simulation() -> None:
    kinds = {kind: searches() for kind in work.MIXTURE}

    def once(seed: int) -> tuple[float, list[tuple[float, int, int, int]]]:
        cluster = Cluster(COSTS, replicas=3, route=ROUTES["affine"]())
        cluster.poisson(work.questions(kinds, seed), 4.0, 5.0, seed)
        cluster.run()
        return cluster.now, cluster.answered

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_a_level_waits_for_the_one_before_as_recorded() -> None:
    # The last step goes on from the first, which is short, and need not wait for the second, which is long.
    barrier = Tree(10, ((-1, 2, 0), (-1, 50, 0), (0, 2, 0)))
    ahead = Tree(10, ((-1, 2, 0), (-1, 50, 0), (0, 2, 1)))
    assert barrier.levels == ahead.levels == ((0, 1), (2,))
    assert solved([ahead]).now < solved([barrier]).now


def test_what_a_dead_engine_had_goes_on_elsewhere() -> None:
    trees = searches()
    cluster = Cluster(COSTS, replicas=2, route=ROUTES["affine"]())
    cluster.clients(work.given(trees), 4)
    cluster.at(0.3, cluster.die, 0, 0.5)
    cluster.at(0.4, cluster.die, 1, 0.5)
    cluster.run()
    assert cluster.failovers > 0
    assert len(cluster.done) == len(trees)
    assert sum(each[3] for each in cluster.answered) == sum(t for tree in trees for _, t, _ in tree.steps)
    assert [member.in_flight for member in cluster.members] == [0, 0]
    assert [member.engine.cache.free for member in cluster.members] == [454, 454]


def test_servers_in_front_take_their_time() -> None:
    cluster = Cluster(Costs(step=StepCost(base=1e-9), request=1.0), replicas=2, route=ROUTES["affine"]())
    cluster.begin(Job(Tree(10, ((-1, 1, 0),) * 8), b"", Prefix(10)), lambda: None)
    cluster.run()
    assert cluster.now == pytest.approx(8.0)


def test_system_prompts_are_shared() -> None:
    kinds = {kind: [CHAIN] for kind in work.MIXTURE}
    jobs = work.tenants(kinds, 0, count=2, tokens=100, by=lambda system, _: system)
    some = [next(jobs) for _ in range(20)]
    assert len({job.root for job in some}) == 2
    assert len({job.prompt.keys[:3] for job in some}) == 2
    assert len({job.prompt.number for job in some}) == 20


def test_recorded_work_is_read_as_it_was_written(tmp_path: Any) -> None:
    kinds = {"search": searches(), "vote": [CHAIN]}
    work.write(kinds, tmp_path / "file")
    assert work.read(tmp_path / "file") == kinds


def test_costs_are_found_again() -> None:
    cost, draw = StepCost(base=0.01, decoding=1e-3, begun=2e-3, token=1e-4), random.Random(0)
    steps = []
    for _ in range(3000):
        did = draw.randint(0, 6), draw.randint(0, 4), 100 * draw.randint(0, 4)
        taken = cost.seconds(*did) * draw.choice((1, 1, 1, 1, 9))
        steps.append(Step(decoding=did[0], begun=did[1], tokens=did[2], seconds=taken, wall=taken))
    found = fit(steps)
    assert vars(found.cost) == pytest.approx(vars(cost), rel=0.05)
    assert found.error < 0.05
    with pytest.raises(ValueError, match="too few"):
        fit(steps[:3])


def test_quantile() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 3
    assert quantile([1, 2, 3, 4], 0.95) == 4


def test_page_and_plot(tmp_path: Path) -> None:
    found = {"jobs": 9, "goodput": 2.5, "hit_rate": 0.7654, "computed": 1.5, "p50": 1.0, "p95": 2.0}
    case = found | {
        "replicas": 1000,
        "load": 0.5,
        "tenants": 16,
        "by_tenant": True,
        "slow": False,
        "dies": True,
    }
    cases = [case | {"route": route, "failovers": 77} for route in ROUTES]
    way = [{"real": found | {"goodput": real}, "simulated": found, "stretch": 1.5} for real in (2.0, 2.5)]
    shape = {"levels": 6.2, "requests": 66, "tokens": 9, "prompt": 50}
    how = {"cores": 2, "load": 1.5, "when": "2026-11-21T00:00"}
    parts: dict[str, Any] = {
        "measure": {
            "costs": {"step": vars(COSTS.step), "request": COSTS.request, "way": COSTS.way},
            "fit": {"steps": 1234, "kinds": 50, "error": 0.07, "total": 1.01},
            "recorded": {"search": shape},
        },
        "check": {"clients": 8, "problems": 48, "rounds": 3, "ways": {"affine": way}},
        "simulate": {
            "capacity": 4.5,
            "warm": 8.0,
            "shortest": 3.0,
            "sizes": cases,
            "tenants": cases,
            "slow": cases,
            "dies": cases,
        },
    }
    results = {name: how | part for name, part in parts.items()}
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    page.write(results, file)
    text = file.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| prompt tokens cached, % | affine | 76.5 (76.5 – 76.5) |" in text
    assert "| affine | 2.25 (2.00 – 2.50) | 2.50 (2.50 – 2.50) | 1.25, 1.00 |" in text
    assert "| each step of an engine | 4.000 |" in text
    assert "| 0.5 | 1,000 | affine | 77 % | 2.50 | 1.00 | 2.00 |" in text
    assert "| 16 | affine by system prompt | 77 % |" in text
    assert "| one dies | round robin | 77 % | 2.50 | 1.00 | 2.00 | 77 |" in text
    plots.draw({}, tmp_path)
    assert not list(tmp_path.glob("*.png"))
    plots.draw(results, tmp_path)
    assert (tmp_path / plots.REPLICAS).read_bytes().startswith(b"\x89PNG")


def test_a_run_is_recorded_as_a_tree() -> None:
    trace, usage = Trace(clock=iter([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).__next__), Usage(prompt=30)
    one = trace.add(parent=0, kind="step", text="a", started=0.0, tokens=5, usage=usage)
    trace.add(parent=0, kind="cancelled", text="", started=0.0)
    more = Usage(prompt=35)
    trace.add(parent=one, kind="step", text="b", started=1.5, tokens=4, usage=more)
    trace.add(parent=0, kind="step", text="c", started=0.0, tokens=9, usage=usage)
    run: Any = SimpleNamespace(trace=trace)
    # The second step began when one of the first level had not ended.
    assert tree(run) == Tree(30, ((-1, 5, 0), (0, 4, 1), (-1, 9, 0)))
