"""What engines are asked: searches, votes and single answers as they were recorded, in any mixture."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.scaling.cache import Prefix

FILE = Path(__file__).parent / "recorded.json"


@dataclass(frozen=True)
class Tree:
    """One problem's generations: a beam search has as many levels as steps, a vote has one."""

    prompt: int
    """Tokens of the question."""
    steps: tuple[tuple[int, int, int], ...]
    """For each generation the place of what it goes on from (-1: the question), its tokens, and how many of
    the level before it had not ended when it began."""

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Places of generations, those together that are equally many steps from the question."""
        depths, levels = dict[int, int](), list[list[int]]()
        for place, (parent, _, _) in enumerate(self.steps):
            depths[place] = depth = depths.get(parent, -1) + 1
            if depth == len(levels):
                levels.append([])
            levels[depth].append(place)
        return tuple(map(tuple, levels))


@dataclass(frozen=True)
class Job:
    """A tree to be generated, after what the conversation has had before."""

    tree: Tree
    root: bytes
    """What a router knows the conversation by."""
    prompt: Prefix
    kind: str = ""


Work = Iterator[Job]

Kinds = Mapping[str, Sequence[Tree]]
"""Recorded trees by what made them: `search`, `vote`, `single`."""

MIXTURE = {"search": 0.6, "vote": 0.2, "single": 0.2}
"""Parts of the requests of a mixed load."""


def read(file: Path = FILE) -> Kinds:
    """What was recorded."""
    return {kind: [_tree(each) for each in trees] for kind, trees in json.loads(file.read_text()).items()}


def write(kinds: Kinds, file: Path = FILE) -> None:
    """Keep what was recorded, a tree a line."""
    made = [
        f' "{kind}": [\n' + ",\n".join(f"  {json.dumps([t.prompt, t.steps])}" for t in trees) + "\n ]"
        for kind, trees in kinds.items()
    ]
    file.write_text("{\n" + ",\n".join(made) + "\n}\n", "utf-8")


def questions(kinds: Kinds, seed: int) -> Work:
    """Questions that have nothing in common, without end."""
    draw, number = random.Random(seed), 0
    while True:
        kind, tree = _drawn(kinds, draw)
        yield Job(tree, _root(seed, number), Prefix(tree.prompt), kind)
        number += 1


def tenants(kinds: Kinds, seed: int, *, count: int, tokens: int, by: Callable[[int, int], object]) -> Work:
    """Questions that each begin with one of so many system prompts of so many tokens.

    Args:
        kinds: What was recorded.
        seed: Of what is drawn.
        count: System prompts.
        tokens: Of each.
        by: What of the numbers of system prompt and question the router looks at.
    """
    draw, number = random.Random(seed), 0
    systems = [Prefix(tokens) for _ in range(count)]
    while True:
        system = draw.randrange(count)
        kind, tree = _drawn(kinds, draw)
        yield Job(tree, _root(seed, by(system, number)), Prefix(tree.prompt, systems[system]), kind)
        number += 1


def given(trees: Sequence[Tree]) -> Work:
    """Each once."""
    for number, tree in enumerate(trees):
        yield Job(tree, _root("given", number), Prefix(tree.prompt))


def _drawn(kinds: Kinds, draw: random.Random) -> tuple[str, Tree]:
    """A recorded tree, of a kind as frequent as in the mixture."""
    kind = draw.choices(list(MIXTURE), list(MIXTURE.values()))[0]
    return kind, draw.choice(kinds[kind])


def _tree(data: Any) -> Tree:
    prompt, steps = data
    return Tree(prompt, tuple((parent, tokens, ahead) for parent, tokens, ahead in steps))


def _root(*parts: object) -> bytes:
    return blake2b(repr(parts).encode(), digest_size=16).digest()
