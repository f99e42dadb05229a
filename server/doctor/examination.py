"""All of it: the configuration, the machine, the software, folders and ports, other servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mull.server.doctor import configuration, machine, places, software, store, upstream
from mull.server.doctor.finding import Finding
from mull.verifiers.config import models_of
from mull.verifiers.kinds import CodeConfig


def examine(file: Path | None, *, thorough: bool) -> list[Finding]:
    """Look at everything; a wrong configuration is told, and what depends on it left out.

    Args:
        file: The configuration.
        thorough: Whether to do what takes longer than a moment.
    """
    settings, found = configuration.check(file)
    if settings is None:
        bare = software.look(engines=False, sandbox=False, thorough=thorough)
        return [*found, *machine.look(needs_gpu=False), *bare]
    local = any(model.path for model in settings.models.values())
    engines = local or any(models_of(config) for config in settings.verifiers.values())
    return [
        configuration.described(settings),
        *found,
        *machine.look(needs_gpu=engines and not software.for_cpu()),
        *software.look(
            engines=engines,
            sandbox=any(isinstance(config, CodeConfig) for config in settings.verifiers.values()),
            thorough=thorough,
        ),
        *places.look(settings),
        *store.look(settings),
        *asyncio.run(upstream.look(settings)),
    ]
