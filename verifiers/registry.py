"""Verifiers of other packages."""

from __future__ import annotations

from typing import Protocol

from mull.protocols import Verifier
from mull.registry import Registry


class VerifierFactory(Protocol):
    """What an entry point of the group `mull.verifiers` names: a verifier class, say."""

    def __call__(self, name: str, **options: object) -> Verifier:
        """A verifier of that name. It may have `async check()` and `async close()`."""
        ...


PLUGINS: Registry[VerifierFactory] = Registry("verifier plugin", "mull.verifiers", {})
