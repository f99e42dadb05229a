"""Folders, files and ports."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from mull.server.doctor.configuration import hosted
from mull.server.doctor.finding import Finding, fail, ok, warn
from mull.server.settings import Settings
from mull.verifiers.config import models_of

GIB = 2**30
LITTLE = GIB
"""Bytes of free disk below which traces and batches soon find none."""


def look(settings: Settings) -> Iterator[Finding]:
    """Look at what the configuration names on this machine."""
    yield _port(settings.host, settings.port)
    for subject, model in _models(settings):
        if Path(model).is_dir():
            yield ok(subject, f"{model}, {_size(Path(model))}")
        elif hosted(model):
            yield warn(
                subject,
                f"{model!r} is no folder, so vLLM downloads it from Hugging Face",
                "download it before, where the server has no way out",
            )
    for subject, folder in (("traces.dir", settings.traces.dir), ("batches.dir", settings.batches.dir)):
        if folder is not None:
            yield _writable(subject, folder)


def _models(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, model in settings.models.items():
        if model.path is not None:
            yield f"models.{name}", model.path
    for name, config in settings.verifiers.items():
        for found in models_of(config):
            if found not in settings.models:
                yield f"verifiers.{name}", found


def _size(folder: Path) -> str:
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{total / 1e9:.1f} GB" if total >= 1e9 else f"{total / 1e6:.1f} MB"


def _port(host: str, port: int) -> Finding:
    if port == 0:
        return ok("port", "any that is free")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return fail(
                "port", f"{host}:{port}: {why}", "stop what uses it, or choose another: --port, MULL_PORT"
            )
    return ok("port", f"{host}:{port} is free")


def _writable(subject: str, folder: Path) -> Finding:
    """Whether a folder, or the nearest one above it that exists, can be written to."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not there.is_dir():
        return fail(subject, f"{there} is no folder", "name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        return fail(
            subject, f"{there} cannot be written to", "chown it to the server's user, or name another"
        )
    free = shutil.disk_usage(there).free
    said = f"{folder}, {free / GIB:.1f} GiB free"
    if free < LITTLE:
        return warn(subject, said, "make room: what finds none is not kept")
    return ok(subject, said)
