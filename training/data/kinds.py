"""Names of formats and choices, which the command line needs before anything is loaded."""

from typing import Literal

Kind = Literal[
    "problem", "rollout", "sft", "preference", "unpaired", "outcome", "stepwise", "difficulty", "grpo"
]
"""Formats of rows."""

Order = Literal["random", "shortest", "likeliest"]
"""Which samples of a problem come first; `shortest` in characters, `likeliest` by log-probability a
token."""

Choice = Literal["random", "hardest", "prefix"]
"""Which samples are paired: `hardest` likely wrong ones with unlikely right ones, by log-probability a token;
`prefix` those with the longest common beginning."""
