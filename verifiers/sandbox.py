"""Code of unknown intent, run by bubblewrap where it can do no harm."""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START = 20.0
"""Seconds for a sandbox to come up on a busy machine."""
FILE = 1 << 20
"""Bytes of one file that the code writes."""
DISK = 16 << 20
"""Bytes of all files that it writes: they are kept in memory."""

# Outside, before bubblewrap takes over: whoever started the server, the code does not run as root (for whom
# there is no limit of processes), and when memory runs out it is the first to go.
_LAUNCH = """
import os, sys
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.execv(sys.argv[1], sys.argv[1:])
"""

# Inside: set the limits, cut the code off from what we read, run it, and say so when its test has passed.
_INSIDE = """
import json, os, resource, sys, types
job = json.load(sys.stdin)
out, null = os.dup(1), os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)
for name, limit in job["limits"].items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (limit, limit))
module = sys.modules["__answer__"] = types.ModuleType("__answer__")
os.write(out, b"+")
exec(compile(job["program"], "<answer>", "exec"), module.__dict__)
exec(compile(job["test"], "<test>", "exec"), module.__dict__)
os.write(out, job["word"].encode())
os._exit(0)
"""


class SandboxError(Exception):
    """The sandbox could not be set up; nothing was run."""


@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """What a program may use."""

    seconds: float = 5.0
    """Of the clock, and rounded up of each process's CPU time."""
    memory: int = 256
    """MiB of address space for each process."""
    processes: int = 16
    """Processes and threads."""

    def rlimits(self) -> dict[str, int]:
        """The limits that the kernel keeps, by their name in `resource`."""
        return {
            "AS": self.memory << 20,
            "CPU": math.ceil(self.seconds),
            "NPROC": self.processes,
            "FSIZE": FILE,
            "NOFILE": 64,
            "CORE": 0,
        }


class Sandbox:
    """Runs Python programs with their tests, each in a sandbox of its own.

    Inside there is no network, no other process, no environment, and of the file system only `/usr`, the
    interpreter (both read-only) and an empty `/tmp` in memory. No capability is left, no further user
    namespace can be made. What runs is killed with the sandbox when time is up or the caller is cancelled.

    It contains code that misbehaves; it does not hide the kernel, whose system calls can all be made. Where
    strangers may send code, run it in a virtual machine besides.

    Args:
        limits: What each program may use.
        parallel: Sandboxes at once, at most.
        python: The interpreter inside; the folder above its `bin` is visible. By default the one that runs
            here, without its virtual environment, or `/usr/bin/python3` where only root may reach that one.

    Raises:
        ValueError: bubblewrap is not installed, or there is no such interpreter.
    """

    def __init__(
        self, limits: SandboxLimits | None = None, *, parallel: int = 4, python: str | None = None
    ) -> None:
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise ValueError("bubblewrap is not installed (apt-get install bubblewrap)")
        self._limits = limits or SandboxLimits()
        self._command = [sys.executable, "-I", "-S", "-c", _LAUNCH, bwrap, *_arguments(python)]
        self._slots = asyncio.Semaphore(parallel)

    async def passes(self, program: str, test: str) -> bool:
        """Run a program and then, in its global scope, a test: whether both end without an exception.

        Ending the process in the program does not count as passing.

        Raises:
            SandboxError: the sandbox does not come up.
        """
        word = secrets.token_hex()
        job = {"limits": self._limits.rlimits(), "program": program, "test": test, "word": word}
        async with self._slots:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={}
                )
            except OSError as error:
                raise SandboxError(f"it cannot be started: {error.strerror}") from error
            async with _killed(process) as up:
                return await self._verdict(process, up, json.dumps(job).encode(), word.encode())

    async def _verdict(self, process: Process, up: asyncio.Event, job: bytes, word: bytes) -> bool:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(START):
                process.stdin.write(job)
                process.stdin.write_eof()
                said = await process.stdout.read(1)
                up.set()
                if said != b"+":
                    why = (await process.stderr.read(1000)).decode(errors="replace").strip()
                    raise SandboxError(why.rpartition("\n")[2] or "it ended at once")
        except TimeoutError as error:
            raise SandboxError(f"not ready within {START:g} seconds") from error
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await process.stdout.readexactly(len(word)) == word
        except (TimeoutError, asyncio.IncompleteReadError):
            return False


@asynccontextmanager
async def _killed(process: Process) -> AsyncIterator[asyncio.Event]:
    """Kill the sandbox in the end, and with it all that runs in it; the event tells that it is up."""
    up = asyncio.Event()
    # By descriptor: `process.kill` races with asyncio for the process's exit status.
    handle = None
    with suppress(ProcessLookupError):  # it has ended already
        handle = os.pidfd_open(process.pid)
    try:
        yield up
    finally:
        # Until then what runs inside would outlive bubblewrap: it does not ask yet to be killed with it.
        if not up.is_set() and process.stdout is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(START):
                    await process.stdout.read(1)
        if handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        # Not `wait`, which never returns when more was written than asyncio buffers.
        await process.communicate()


def _interpreter(python: str | None) -> Path:
    found = Path(python or sys.executable).resolve()
    if python is None and os.getuid() == 0 and not all(folder.stat().st_mode & 1 for folder in found.parents):
        found = Path("/usr/bin/python3").resolve()
    if not found.is_file():
        raise ValueError(f"there is no Python at {found}")
    if found.parent.parent == Path("/"):
        raise ValueError(f"{found} is not in a folder `bin` of its installation")
    return found


def _arguments(python: str | None) -> list[str]:
    """Bubblewrap's command line, from the interpreter's path to the program that it runs."""
    interpreter = _interpreter(python)
    prefix = interpreter.parent.parent
    visible = ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        folder = Path(name)
        if folder.is_symlink():
            visible += ["--symlink", str(folder.readlink()), name]
        else:
            visible += ["--ro-bind-try", name, name]
    if not prefix.is_relative_to("/usr"):
        visible += ["--ro-bind", str(prefix), str(prefix)]
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
        *("--uid", "65534", "--gid", "65534", "--hostname", "sandbox"),
        *("--new-session", "--die-with-parent", "--clearenv"),
        *("--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8"),
        *visible,
        *("--dev", "/dev", "--size", str(DISK), "--tmpfs", "/tmp", "--chdir", "/tmp"),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--", str(interpreter), "-I", "-S", "-B", "-c", _INSIDE),
    ]
