"""Tree of thoughts."""

from mull.strategies.tree_of_thoughts.strategy import TreeOfThoughts

__all__ = ["TreeOfThoughts"]
