from __future__ import annotations

import json

from mull.testing import tree
from mull.trace import Node, Trace
from mull.types import Score, Usage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_nodes_are_numbered_in_order_and_timed() -> None:
    trace = Trace(clock=Clock())
    started = trace.now()
    first = trace.add(
        parent=0, kind="sample", text="a", started=started, tokens=3, finish="stop", usage=Usage(completion=3)
    )
    second = trace.add(parent=first, kind="step", text="b", started=trace.now())
    assert (first, second) == (1, 2)
    assert [n.parent for n in trace.nodes] == [None, 0, 1]
    assert (trace.nodes[1].started, trace.nodes[1].ended) == (1.0, 2.0)
    assert trace.nodes[2].started > trace.nodes[1].ended


def test_scores_and_notes_are_kept_and_told() -> None:
    trace, told = Trace(), list[Node]()
    stop = trace.listen(told.append)
    node = trace.add(parent=0, kind="sample", text="a", started=0)
    trace.score(node, Score(value=0.9, steps=(0.9, 0.2)), 0.2)
    trace.annotate(node, pruned=True)
    trace.annotate(node, visits=2)
    stop()
    trace.score(node, Score(value=0.4))
    assert [(n.score, dict(n.data)) for n in told] == [
        (None, {}),
        (0.2, {}),
        (0.2, {"pruned": True}),
        (0.2, {"pruned": True, "visits": 2}),
    ]
    assert told[1].step_scores == (0.9, 0.2)
    assert trace.nodes[node].score == 0.4


def test_a_listener_may_end_itself() -> None:
    trace, told = Trace(), list[int]()

    def once(node: Node) -> None:
        told.append(node.id)
        stop()

    stop = trace.listen(once)
    trace.listen(lambda node: told.append(-node.id))
    trace.add(parent=0, kind="sample", text="", started=0)
    trace.add(parent=0, kind="sample", text="", started=0)
    assert told == [1, -1, -2]


def test_it_is_plain_data() -> None:
    trace = Trace()
    node = trace.add(
        parent=0, kind="sample", text="é", started=0, usage=Usage(prompt=2, completion=1), data={"a": 1}
    )
    found = json.loads(json.dumps(trace.to_list()))[node]
    assert found["text"] == "é"
    assert found["usage"] == {"prompt": 2, "cached": 0, "completion": 1}
    assert found["data"] == {"a": 1}


def test_trees_are_equal_up_to_numbering_time_and_cancelled_calls() -> None:
    one, other = Trace(), Trace()
    for trace, texts in ((one, "abc"), (other, "cab")):
        for text in texts:
            node = trace.add(parent=0, kind="step", text=text, started=trace.now())
            trace.add(parent=node, kind="sample", text=text.upper(), started=0, finish="stop")
    other.add(parent=0, kind="cancelled", text="", started=0, tokens=5)
    assert tree(one) == tree(other)
    one.score(1, Score(value=0.5))
    assert tree(one) != tree(other)
