"""The machine: cores, memory, graphics cards, Python."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mull.server.doctor.finding import Finding, fail, ok, warn

OLDEST = (3, 11)
GIB = 2**30
LITTLE = 4 * GIB
"""Bytes of memory with which two small engines are in each other's way."""


def look(*, needs_gpu: bool) -> Iterator[Finding]:
    """Look at the machine.

    Args:
        needs_gpu: Whether the configured models need a graphics card, as vLLM's build for them does.
    """
    version = platform.python_version()
    if sys.version_info >= OLDEST:
        yield ok("python", version)
    else:
        yield fail("python", version, f"install Python {OLDEST[0]}.{OLDEST[1]} or newer")
    yield _cores()
    yield _memory()
    yield _cards(needs_gpu)


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        return warn("cpu", "1 core", "engines and server share it: give the machine two or more")
    return ok("cpu", f"{cores} cores")


def _memory() -> Finding:
    available = _available()
    if available is None:
        return warn("memory", "cannot be told on this system", "see that 4 GiB are free")
    said = f"{available / GIB:.1f} GiB available"
    if available < LITTLE:
        return warn("memory", said, "an engine of the bundled models takes about 0.6 GiB, larger ones more")
    return ok("memory", said)


def _available() -> int | None:
    """Bytes that can be had, by the kernel and by the limit of the container."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    (kib,) = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")] or [0]
    available = kib * 1024
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if most == "max" else min(available, int(most) - used)


def _cards(needed: bool) -> Finding:
    program = shutil.which("nvidia-smi")
    said = _asked(program) if program else None
    if said:
        return ok("gpu", said)
    if needed:
        return fail("gpu", "none is found", "install the driver, or vLLM for the CPU: `scripts/install`")
    return ok("gpu", "none; vLLM's build for CPUs needs none")


def _asked(program: str) -> str | None:
    try:
        done = subprocess.run(
            [program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(done.stdout.strip().splitlines()) or None
