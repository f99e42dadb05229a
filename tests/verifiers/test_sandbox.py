"""The sandbox, from the point of view of code that wants out."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

import mull.verifiers.sandbox
from mull.verifiers.sandbox import Sandbox, SandboxError, SandboxLimits

MARK = f"# sandboxes of {os.getpid()}"


@pytest.fixture(autouse=True)
def _marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests on this machine may run sandboxes, too."""
    monkeypatch.setattr(mull.verifiers.sandbox, "_INSIDE", mull.verifiers.sandbox._INSIDE + MARK)


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    made = Sandbox(SandboxLimits(seconds=2, processes=8))
    try:
        await made.passes("", "")
    except SandboxError as error:
        pytest.skip(f"no sandbox can be made on this machine: {error}")
    yield made
    assert running() == []


def running() -> list[str]:
    """Command lines of this process's sandboxes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if MARK.encode() in command:
            found.append(command.decode(errors="replace"))
    return found


async def test_a_test_sees_what_the_program_defines(sandbox: Sandbox) -> None:
    program = "def double(x):\n    return 2 * x\n"
    assert await sandbox.passes(program, "assert double(4) == 8")
    assert not await sandbox.passes(program, "assert double(4) == 9")
    assert not await sandbox.passes(program, "triple(4)")
    assert not await sandbox.passes("def double(x) return", "")
    assert not await sandbox.passes("x = '\0'", "")
    assert await sandbox.passes(
        "import dataclasses, json\n@dataclasses.dataclass\nclass P:\n    x: int\n",
        "assert json.dumps(dataclasses.asdict(P(1))) == '{\"x\": 1}'",
    )


async def test_the_program_is_no_main_program(sandbox: Sandbox) -> None:
    assert await sandbox.passes("if __name__ == '__main__':\n    raise SystemExit\n", "")


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import os\nos.kill(os.getpid(), 9)",
        "import os\nos.abort()",
    ],
)
async def test_ending_early_is_not_passing(sandbox: Sandbox, program: str) -> None:
    assert not await sandbox.passes(program, "")


@pytest.mark.parametrize(
    "program",
    [
        "while True:\n    pass",
        "import time\ntime.sleep(600)",
        "import threading\nthreading.Thread(target=__import__('time').sleep, args=(600,)).start()\n1 / 0",
        "import os, time\nif os.fork():\n    time.sleep(600)\nos.setsid()\nos.fork()\ntime.sleep(600)",
        "import signal\nfor n in (1, 2, 15, 24):\n    signal.signal(n, 1)\nwhile True:\n    pass",
    ],
)
async def test_what_does_not_end_is_ended(sandbox: Sandbox, program: str) -> None:
    assert not await sandbox.passes(program, "")
    assert running() == []


@pytest.mark.parametrize(
    "program",
    [
        "while True:\n    print('x' * 100_000)",
        "import sys\nwhile True:\n    sys.stderr.write('x' * 100_000)",
        # The channel that results come through, found by trying.
        "import os\nwhile True:\n    os.write(3, b'x' * 65536)",
    ],
)
async def test_floods_of_output_drown_nobody(sandbox: Sandbox, program: str) -> None:
    assert not await sandbox.passes(program, "")


async def test_memory_is_limited(sandbox: Sandbox) -> None:
    assert not await sandbox.passes("x = bytearray(1 << 30)", "")
    assert await sandbox.passes(
        "try:\n    x = bytearray(1 << 30)\nexcept MemoryError:\n    x = None\n", "assert x is None"
    )


async def test_a_fork_bomb_fizzles_out(sandbox: Sandbox) -> None:
    program = """
import os, time
children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        children += 1
except OSError:
    pass
"""
    # bubblewrap's own first process and the program itself count, too.
    assert await sandbox.passes(program, "assert 1 <= children <= 7, children")


async def test_there_is_no_network(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = f"""
import socket
reached = []
for address in (("127.0.0.1", {server.getsockname()[1]}), ("192.0.2.1", 80)):
    try:
        socket.create_connection(address, timeout=1)
        reached.append(address)
    except OSError:
        pass
names = [name for _, name in socket.if_nameindex()]
"""
        assert await sandbox.passes(program, "assert reached == [] and set(names) <= {'lo'}")


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file that everybody may write, left as it was."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "mine").write_text("untouched")
    (folder / "mine").chmod(0o666)
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"mine": "untouched"}


async def test_only_tmp_can_be_written(sandbox: Sandbox, open_folder: Path) -> None:
    program = f"""
import os
written = []
system = ("/", "/usr", "/usr/bin", "/usr/lib", "/etc", "/dev", "/dev/shm", "/home", "/var", "/root")
for folder in (*system, {str(open_folder)!r}):
    for name in ("new", "mine"):
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write("x")
            written.append(folder)
        except OSError:
            pass
with open("/tmp/new", "w") as file:
    file.write("x" * 1000)
size = os.path.getsize("/tmp/new")
"""
    assert await sandbox.passes(program, "assert written == [], written\nassert size == 1000")
    # Each starts with a /tmp of its own.
    assert await sandbox.passes("import os", "assert os.listdir('/tmp') == []")


async def test_files_cannot_fill_the_memory(sandbox: Sandbox) -> None:
    one = """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open("/tmp/a", "wb", buffering=0) as file:
        written = file.write(bytes(2 << 20))
except OSError:
    written = 0
"""
    assert await sandbox.passes(one, "assert written <= 1 << 20, written")
    many = """
written = 0
try:
    for n in range(100):
        with open(f"/tmp/{n}", "wb") as file:
            written += file.write(bytes(1 << 20))
except OSError:
    pass
"""
    assert await sandbox.passes(many, "assert written <= 16 << 20, written")


async def test_secrets_are_out_of_sight(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULL_SECRET", "sesame")
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    secret.chmod(0o644)
    program = f"""
import os
read = []
system = ("/etc/shadow", "/etc/passwd", "/proc/1/environ", "/proc/self/environ", "/root/.bashrc")
for path in (*system, {str(secret)!r}, {__file__!r}):
    try:
        read.append((path, open(path).read()))
    except OSError:
        pass
"""
    assert await sandbox.passes(
        program, "assert read == [], read\nassert 'MULL_SECRET' not in os.environ, os.environ"
    )


async def test_nothing_of_the_outside_can_be_signalled_or_gained(sandbox: Sandbox) -> None:
    program = f"""
import ctypes, os
try:
    os.kill({os.getpid()}, 0)
    killed = True
except OSError:
    killed = False
try:
    os.setuid(0)
    root = True
except OSError:
    root = False
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
nested = libc.unshare(CLONE_NEWUSER) == 0
mounted = libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) == 0
"""
    assert await sandbox.passes(
        program, "assert not any((killed, root, nested, mounted))\nassert os.getuid()"
    )


async def test_sandboxes_run_side_by_side_up_to_a_number() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    sandbox = Sandbox(SandboxLimits(seconds=20), parallel=2)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(
                most, sum("--unshare-all" in command and "exec(compile" in command for command in running())
            )
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    try:
        results = await asyncio.gather(
            *(sandbox.passes(f"x = {n}", f"assert x % 2 == {n % 2}") for n in range(12))
        )
    except SandboxError as error:
        pytest.skip(f"no sandbox can be made on this machine: {error}")
    finally:
        watching.cancel()
    assert results == [True] * 12
    # Each is up to three processes: the launcher or bubblewrap, bubblewrap's child, and the program.
    assert 1 <= most <= 6


async def test_cancelling_ends_what_runs(sandbox: Sandbox) -> None:
    run = asyncio.create_task(sandbox.passes("import time\ntime.sleep(600)", ""))
    while not any("__answer__" in command for command in running()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert running() == []


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 8, 16, 32, 64])
async def test_cancelling_while_it_comes_up_leaves_nothing(sandbox: Sandbox, milliseconds: int) -> None:
    run = asyncio.create_task(sandbox.passes("import time\ntime.sleep(600)", ""))
    await asyncio.sleep(milliseconds / 1000)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 60)
    assert running() == []


async def test_a_sandbox_that_does_not_come_up_says_why(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match=r"bwrap: execvp .*os-release"):
        await Sandbox(python="/usr/lib/os-release").passes("", "")


def test_without_bubblewrap_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="bubblewrap is not installed"):
        Sandbox()


def test_the_interpreter_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(ValueError, match="there is no Python at /nowhere/python"):
        Sandbox(python="/nowhere/python")
    # The folder above its own would be all there is.
    with pytest.raises(ValueError, match="/etc/passwd is not in a folder `bin`"):
        Sandbox(python="/etc/passwd")
