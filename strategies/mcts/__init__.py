"""Monte Carlo tree search over reasoning steps."""

from mull.strategies.mcts.strategy import MCTS

__all__ = ["MCTS"]
