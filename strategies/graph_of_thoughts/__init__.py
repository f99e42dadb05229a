"""Graph of thoughts."""

from mull.strategies.graph_of_thoughts.strategy import GraphOfThoughts

__all__ = ["GraphOfThoughts"]
