"""Data of training: rows as JSON Lines, what is wrong with them, and how they are made from rollouts."""
