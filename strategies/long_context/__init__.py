"""Texts longer than the context."""

from mull.strategies.long_context.strategy import LongContext

__all__ = ["LongContext"]
