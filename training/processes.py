"""A training in several processes, as `accelerate launch` or `torchrun` starts them."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState

PATIENCE = timedelta(days=2)
"""How long the others wait for the first process, which samples, judges and measures for all."""


def join() -> PartialState:
    """This process among those of the launcher; the only one where there is no launcher."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
