"""One engine as vLLM schedules: continuous batching, first come first served, with a prefix cache."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.scaling.cache import BLOCK, Cache, Key, Prefix
from benchmarks.scaling.costs import StepCost

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """What an engine has room for. The defaults are mull's on a CPU, with the bundled policy."""

    sequences: int = 128
    tokens: int = 2048
    """Computed in one step."""
    blocks: int = 454


class Generation(Generic[T]):
    """A request: a prompt to be computed and tokens to be generated.

    Args:
        prompt: What is given.
        whole: That and what will be generated.
        task: What it is for.
    """

    __slots__ = ("cached", "given", "held", "known", "left", "nameless", "prompt", "since", "task", "whole")

    def __init__(self, prompt: Prefix, whole: Prefix, task: T) -> None:
        self.prompt, self.whole, self.task = prompt, whole, task
        self.given = prompt.end
        """Tokens to be computed before the next one comes."""
        self.left = whole.end - prompt.end
        """Tokens still to be generated."""
        self.cached: int | None = None
        """Tokens of the prompt that were there when it was first computed."""
        self.since = 0
        """The step in which its prompt was computed."""
        self.held: list[Key] = []
        self.known = 0
        """How many of its blocks have been named, the first ones."""
        self.nameless = 0


class Engine(Generic[T]):
    """Runs steps for those who drive it: `begin` one, and `end` it so many seconds later.

    Args:
        cost: What a step takes.
        limits: What there is room for.
        slower: By how much it is slower than the cost says.
    """

    def __init__(self, cost: StepCost, limits: EngineLimits, slower: float = 1.0) -> None:
        self.cost, self.limits, self.slower = cost, limits, slower
        self.cache = Cache(limits.blocks)
        self.waiting: deque[Generation[T]] = deque()
        self.running: dict[Generation[T], None] = {}
        self.steps = self.preempted = self.computed = 0
        """Steps; sequences that lost their place; prompt tokens that were computed."""
        self._ending: dict[int, list[Generation[T]]] = defaultdict(list)
        self._growing: dict[int, list[Generation[T]]] = defaultdict(list)
        """Those that need one more block, by the step in which they do."""

    @property
    def busy(self) -> bool:
        """Whether there is something to do."""
        return bool(self.running or self.waiting)

    def begin(self) -> float:
        """Choose what the next step does; its seconds.

        Raises:
            ValueError: there is no room even for one.
        """
        self.steps += 1
        growing = self._growing.pop(self.steps, ())
        room = sum(self._grow(sequence) for sequence in growing) == len(growing)
        decoding, begun, tokens = len(self.running), 0, 0
        while room and self.waiting and decoding + begun < self.limits.sequences:
            # The last token of a prompt is computed in any case.
            sequence = self.waiting[0]
            keys = sequence.whole.keys[: sequence.given // BLOCK]
            found = self.cache.found(keys[: (sequence.given - 1) // BLOCK])
            new = sequence.given - found * BLOCK
            if decoding + tokens + new > self.limits.tokens:
                break
            if not self.cache.take(keys[:found], -(-new // BLOCK)):
                break
            self._start(self.waiting.popleft(), keys, found)
            begun, tokens = begun + 1, tokens + new
        if not decoding and not begun:
            raise ValueError(f"{self.limits} leave no room for {self.waiting[0].given} tokens")
        self.computed += tokens
        return self.slower * self.cost.seconds(decoding, begun, tokens)

    def end(self) -> list[Generation[T]]:
        """The sequences that have ended with the step."""
        ended = self._ending.pop(self.steps, [])
        for sequence in ended:
            sequence.left = 0
            self._stop(sequence, sequence.whole.end - 1)
        return ended

    def drop(self) -> list[Generation[T]]:
        """All sequences with what they have, as when the process dies: they are to begin elsewhere."""
        lost = [*self.running, *self.waiting]
        for sequence in self.running:
            self._put_back(sequence)
        self.waiting.clear()
        self.running.clear()
        self._ending.clear()
        self._growing.clear()
        self.cache = Cache(self.limits.blocks)
        return lost

    def _start(self, sequence: Generation[T], keys: tuple[Key, ...], found: int) -> None:
        if sequence.cached is None:
            sequence.cached = found * BLOCK
        # What others of the same step have in common with it, they find.
        named = self.cache.fill(keys[found:])
        sequence.held = [*keys[:found], *named]
        sequence.known = len(keys)
        sequence.nameless = -(-sequence.given // BLOCK) - len(sequence.held)
        sequence.since = self.steps
        self.running[sequence] = None
        self._ending[self.steps + sequence.left - 1].append(sequence)
        self._foresee(sequence, sequence.given)

    def _foresee(self, sequence: Generation[T], computed: int) -> None:
        """Note when the block that the token after these needs is to be had."""
        full = -(-computed // BLOCK) * BLOCK
        if full < sequence.given + sequence.left - 1:
            self._growing[sequence.since + full + 1 - sequence.given].append(sequence)

    def _grow(self, sequence: Generation[T]) -> bool:
        """Get one more block, at the cost of those that came last; False if any lost its place."""
        if sequence not in self.running:
            return True
        untouched = True
        while not self.cache.take((), 1):
            last = next(reversed(self.running))
            self._preempt(last)
            untouched = False
            if last is sequence:
                return False
        sequence.nameless += 1
        computed = sequence.given + self.steps - sequence.since
        self._foresee(sequence, computed)
        return untouched

    def _preempt(self, sequence: Generation[T]) -> None:
        self.preempted += 1
        self._stop(sequence, sequence.given + self.steps - 1 - sequence.since)
        self._ending[sequence.since + sequence.left - 1].remove(sequence)
        for expected in self._growing.values():
            if sequence in expected:
                expected.remove(sequence)
        self._put_back(sequence)
        self.waiting.appendleft(sequence)

    def _put_back(self, sequence: Generation[T]) -> None:
        """What has been generated is computed like a prompt when the sequence goes on."""
        generated = self.steps - sequence.since
        sequence.given += generated
        sequence.left -= generated

    def _stop(self, sequence: Generation[T], computed: int) -> None:
        """Let go of its blocks; those that are full can be found from now on."""
        named = self.cache.fill(sequence.whole.keys[sequence.known : computed // BLOCK])
        self.cache.release([*sequence.held, *named], sequence.nameless - len(named))
        del self.running[sequence]
