"""Engines start together, die alone, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from prometheus_client import generate_latest

from mull.engines.launch import EngineSpec, launch, stop
from mull.engines.vllm import VLLMGenerator
from mull.errors import EngineUnavailable
from mull.types import Chat, Meter, Sampling

pytestmark = [pytest.mark.timeout(1200)]

MODELS = Path(__file__).parents[2] / "models"


def spec(name: str) -> EngineSpec:
    model = str(MODELS / name)
    if name == "policy":
        return EngineSpec(name=name, model=model)
    return EngineSpec(name=name, model=model, runner="pooling")


def engine_processes() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


def run(code: str, *, status: int = 0) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def test_importing_engines_is_light_and_changes_nothing() -> None:
    printed = run(
        """
        import os, sys
        before = dict(os.environ)
        import mull.engines.launch, mull.engines.remote, mull.engines.vllm
        print(before == dict(os.environ))
        print(sorted({"torch", "transformers", "vllm"} & set(sys.modules)))
        """
    )
    assert printed.split("\n")[:2] == ["True", "[]"]


@pytest.mark.integration
@pytest.mark.usefixtures("policy")
async def test_engines_of_one_process(chat: Chat) -> None:
    """Three models; their metrics; the death of one; the end of all."""
    from vllm import PoolingParams
    from vllm.inputs import tokens_input

    before = engine_processes()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        engines = await launch([spec("policy"), spec("orm"), spec("prm")])
        # The engines hold no copy of the server's connections: its client sees them close.
        accepted.close()
        client.settimeout(5)
        assert client.recv(1) == b""
        client.close()
    started = engine_processes() - before
    assert len(started) == 3
    assert all(os.getpgid(process) == process for process in started)
    try:
        policy = VLLMGenerator(engines["policy"], model="policy")
        prompt = await policy.render(chat)
        async with aclosing(policy.sample(prompt, Sampling(max_tokens=5))) as results:
            assert [c async for c in results]
        ids = list(prompt.ids or ())
        for name, task, shape in (("orm", "classify", (1,)), ("prm", "token_classify", (len(ids), 2))):
            async for output in engines[name].encode(tokens_input(ids), PoolingParams(task=task), name):
                assert output.outputs.data.shape == shape
        metrics = generate_latest().decode()
        for name in engines:
            assert f'vllm:num_requests_running{{engine="0",model_name="{name}"}} 0.0' in metrics
        assert metrics.count("# TYPE vllm:num_requests_running ") == 1

        dead = VLLMGenerator(engines["policy"]._engine, model="policy")
        meter, endless = Meter(), Sampling(extra={"ignore_eos": True})
        async with aclosing(policy.stream(prompt, endless, meter=meter)) as chunks:
            await anext(chunks)
            [process] = engines["policy"].engine_core.resources.engine_manager.processes
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(EngineUnavailable, match="'policy' died"):
                async for _ in chunks:
                    pass
        assert meter.calls == 1
        with pytest.raises(EngineUnavailable, match="'policy' died"):
            await policy.check()
        with pytest.raises(EngineUnavailable, match="'policy' died"):
            async with aclosing(policy.sample(prompt, Sampling(), n=2)) as results:
                await anext(results)
        async for output in engines["orm"].encode(tokens_input(ids), PoolingParams(task="classify"), "again"):
            assert output.finished

        # It is started again, as the same engine to all who have it.
        assert await engines["policy"].revived()
        assert engines["policy"].restarts == 1
        await policy.check()
        async with aclosing(policy.sample(prompt, Sampling(max_tokens=5), n=2)) as results:
            assert len([c async for c in results]) == 2
        # What renders has ended with the dead one, which is not the chat's fault.
        for asked in (dead.render(chat), dead.encode("x")):
            with pytest.raises(EngineUnavailable, match="'policy' died"):
                await asked
        metrics = generate_latest().decode()
        assert metrics.count('vllm:num_requests_running{engine="0",model_name="policy"} ') == 1
        again = engine_processes() - before
        assert len(again) == 3
        assert len(again & started) == 2
    finally:
        await stop(engines)
    assert engine_processes() - before == set()
    left = generate_latest().decode()
    assert not [name for name in engines if f'model_name="{name}"' in left]


@pytest.mark.integration
@pytest.mark.usefixtures("policy")
async def test_a_model_that_does_not_start(tmp_path: Path) -> None:
    before = engine_processes()
    with pytest.raises(EngineUnavailable, match="'broken' did not start"):
        await launch([spec("policy"), EngineSpec(name="broken", model=str(tmp_path))])
    assert engine_processes() - before == set()


@pytest.mark.integration
@pytest.mark.usefixtures("policy")
async def test_a_start_that_is_cancelled() -> None:
    before = engine_processes()
    starting = asyncio.create_task(launch([spec("policy"), spec("orm")]))
    await asyncio.sleep(0.1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert engine_processes() - before == set()


@pytest.mark.integration
@pytest.mark.usefixtures("policy")
def test_engines_end_with_a_server_that_is_killed() -> None:
    printed = run(
        f"""
        import asyncio, os, signal
        from mull.engines.launch import EngineSpec, launch

        async def main():
            engines = await launch([EngineSpec(name="policy", model={str(MODELS / "policy")!r})])
            [process] = engines["policy"].engine_core.resources.engine_manager.processes
            print(process.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
        """,
        status=-signal.SIGKILL,
    )
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(printed)).wait(60)
