"""Names to things, loaded only when asked for; third parties add theirs through entry points."""

from __future__ import annotations

import importlib
from functools import cached_property
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from mull.errors import NotFound, one_of

T = TypeVar("T")


class Registry(Generic[T]):
    """Lazily imported objects of one kind.

    Args:
        kind: What they are, for error messages (`strategy`).
        group: Entry point group that installed packages add to (`mull.strategies`).
        builtin: Our own, as `name -> "module:attribute"`.
    """

    def __init__(self, kind: str, group: str, builtin: dict[str, str]) -> None:
        self._kind = kind
        self._group = group
        self._builtin = builtin

    @cached_property
    def _targets(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=self._group)}
        return found | self._builtin

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted(self._targets)

    def get(self, name: str, *, param: str | None = None) -> T:
        """The object registered as `name`.

        Raises:
            NotFound: with the known names; `param` is the request field to blame.
        """
        target = self._targets.get(name)
        if target is None:
            raise NotFound(f"unknown {self._kind} {name!r}; known are {one_of(self.names())}", param=param)
        module, _, attribute = target.partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))
