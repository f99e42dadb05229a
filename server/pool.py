"""The verifiers being served, each in one version that can be exchanged while requests run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mull.protocols import Verifier
from mull.verifiers.config import CompositeConfig, VerifierConfig, compose


@dataclass(eq=False, kw_only=True)
class Loaded:
    """One version of a verifier, with what it runs on; closed when nobody uses it any more."""

    verifier: Verifier
    config: VerifierConfig | None
    version: str
    loaded_at: int = field(default_factory=lambda: int(time.time()))
    parts: tuple[Loaded, ...] = ()
    """What a composite is made of."""
    close: Callable[[], Awaitable[None]] | None = None
    users: int = 0
    """Requests, composites, and the pool while it is served."""


class VerifierPool(Mapping[str, Verifier]):
    """Verifiers by name. Belongs to one event loop."""

    def __init__(self) -> None:
        self.checks: dict[str, Mapping[str, Any]] = {}
        """What the last reload of each name found out."""
        self._serving: dict[str, Loaded] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __getitem__(self, name: str) -> Verifier:
        return self._serving[name].verifier

    def __iter__(self) -> Iterator[str]:
        return iter(self._serving)

    def __len__(self) -> int:
        return len(self._serving)

    def loaded(self, name: str) -> Loaded:
        """The version that new requests get."""
        return self._serving[name]

    def add(self, name: str, config: CompositeConfig) -> None:
        """Serve a composite of verifiers that are served already."""
        parts = [self._serving[part] for part in config.of]
        made = compose(name, config, [part.verifier for part in parts])
        version = "+".join(part.version for part in parts)
        self._swap(name, Loaded(verifier=made, config=config, version=version, parts=tuple(parts)))

    def put(self, name: str, loaded: Loaded) -> list[str]:
        """Serve `loaded` under `name` from now on, and in all composites made of it.

        Requests that run keep what they have; it is closed when the last of them has ended.

        Returns:
            The composites that were made again.
        """
        self._swap(name, loaded)
        again = []
        # A composite stands behind its parts.
        for other, composite in list(self._serving.items()):
            config = composite.config
            if isinstance(config, CompositeConfig) and any(
                self._serving[part] is not old for part, old in zip(config.of, composite.parts, strict=True)
            ):
                self.add(other, config)
                again.append(other)
        return again

    @contextmanager
    def lease(self, name: str) -> Iterator[Loaded]:
        """The present version, which stays as it is until the lease ends."""
        with self.held(self._serving[name]) as loaded:
            yield loaded

    @contextmanager
    def held(self, loaded: Loaded) -> Iterator[Loaded]:
        """A version that is not closed meanwhile, but afterwards if nobody else uses it."""
        self._hold(loaded)
        try:
            yield loaded
        finally:
            self._release(loaded)

    async def settled(self) -> None:
        """Wait until the versions that are being stopped have been."""
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def close(self) -> None:
        """Serve nothing any more, and close what nobody uses."""
        serving, self._serving = self._serving, {}
        for loaded in serving.values():
            self._release(loaded)
        await self.settled()

    def _swap(self, name: str, loaded: Loaded) -> None:
        old = self._serving.get(name)
        self._hold(loaded)
        self._serving[name] = loaded
        if old is not None:
            self._release(old)

    def _hold(self, loaded: Loaded) -> None:
        if not loaded.users:
            for part in loaded.parts:
                self._hold(part)
        loaded.users += 1

    def _release(self, loaded: Loaded) -> None:
        loaded.users -= 1
        if loaded.users:
            return
        for part in loaded.parts:
            self._release(part)
        if loaded.close is not None:
            task = asyncio.ensure_future(loaded.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
