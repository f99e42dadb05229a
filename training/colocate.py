"""vLLM in the process that trains, on a CPU: TRL's own mode, which needs one thing changed there."""

import os
from typing import Any


def make_ready() -> None:
    """Let vLLM keep weights in the layout in which a trainer gives them; on a GPU it does already.

    On CPUs vLLM packs each matrix for its kernels and drops the original, so that new weights cannot be
    loaded into a running engine, which reinforcement does before every use. Call before the engine is made.
    """
    import torch

    if torch.cuda.is_available():
        return
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm.model_executor.layers import linear, utils, vocab_parallel_embedding

    for module in (linear, utils, vocab_parallel_embedding):
        module.dispatch_cpu_unquantized_gemm = _plain


def _plain(layer: Any, remove_weight: bool) -> None:
    """What vLLM does where it has no kernel of its own."""
    from torch.nn.functional import linear

    layer.cpu_linear = lambda x, weight, bias: linear(x, weight, bias)
