"""An example plugin of mull: one strategy, one verifier."""
