"""Exchanging a verifier while requests run: load, hold against the old one, swap."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from mull.errors import InvalidRequest, NotFound, Unsupported, VerifierUnavailable, one_of
from mull.server.backend import Backend
from mull.server.metrics import Metrics
from mull.server.pool import Loaded, VerifierPool
from mull.server.schemas import Strict
from mull.server.settings import Settings
from mull.verifiers.config import VerifierConfig, models_of
from mull.verifiers.labelled import Labelled, fitting, measure, read_labelled
from mull.verifiers.reliability import Reliability

log = logging.getLogger(__name__)


class Conflict(InvalidRequest):
    """The present state of the server forbids it."""

    status = 409
    code = "conflict"


class CheckRequest(Strict):
    """How the new version is held against the old one."""

    file: str | None = Field(None, min_length=1, description="Labelled rows; those of the configuration.")
    max_auc_drop: float = Field(0.02, ge=0, le=1, description="How much worse it may rank answers or steps.")


class ReloadRequest(Strict):
    """The body of POST /v1/ttc/verifiers/{name}/reload."""

    model: str | None = Field(None, min_length=1, description="Folder; by default the one served, read anew.")
    force: bool = Field(False, description="Swap even if it is worse, or cannot be checked.")
    check: CheckRequest = CheckRequest()


class Reloader:
    """Reloads the verifiers of one server, each name one at a time."""

    def __init__(self, settings: Settings, backend: Backend, metrics: Metrics) -> None:
        self._settings = settings
        self._backend = backend
        self._metrics = metrics
        self._busy: set[str] = set()

    async def reload(self, name: str, asked: ReloadRequest) -> dict[str, Any]:
        """Load another version of a verifier, check it, and serve it to requests that come from then on.

        Returns:
            What is served now, with the check.

        Raises:
            NotFound: there is no such verifier.
            InvalidRequest: it has no model to load, the folder or the rows may not be read or are wrong.
            Conflict: it is being reloaded already, or the new version is worse.
            Unavailable: the new version does not start; the old one is served on.
        """
        pool = self._backend.verifiers
        if name not in pool:
            raise NotFound(f"unknown verifier {name!r:.80}; known are {one_of(pool)}", param="name")
        if name in self._busy:
            raise Conflict(f"verifier {name!r} is being reloaded already", code="reload_in_progress")
        self._busy.add(name)
        outcome = "failed"
        try:
            found = await self._reload(name, asked, pool)
            outcome = "done"
        except Conflict:
            outcome = "refused"
            raise
        finally:
            self._busy.discard(name)
            self._metrics.reloads.labels(name, outcome).inc()
        return found

    async def _reload(self, name: str, asked: ReloadRequest, pool: VerifierPool) -> dict[str, Any]:
        with pool.lease(name) as old:
            config = self._config(name, old, asked.model)
            rows = await self._rows(old, asked)
            new = await self._backend.load(name, config)
            # Held: it is closed again if anything goes wrong before it is served.
            with pool.held(new):
                check = await _compare(old, new, rows, asked)
                pool.checks[name] = check
                if not check["accepted"]:
                    raise Conflict(_worse(name, check), code="verifier_worse")
                composites = pool.put(name, new)
            log.info("verifier %s: version %s in place of %s", name, new.version, old.version)
            return describe(name, pool) | {"previous_version": old.version, "composites": composites}

    def _config(self, name: str, old: Loaded, model: str | None) -> VerifierConfig:
        config = old.config
        if config is None or not models_of(config):
            kind = "made of others: reload those" if config is None else f"of kind {config.kind!r}"
            raise Unsupported(
                f"verifier {name!r} is {kind}; only one with a model can be reloaded", param="name"
            )
        own = models_of(config)[0]
        if model is None:
            if own in self._settings.models:
                raise Unsupported(
                    f"verifier {name!r} runs on the served model {own!r}: name a folder", param="model"
                )
            return config
        folder = _resolved(model, "model")
        named = self._settings.verifier_dirs
        configured = models_of(self._settings.verifiers[name])[0]
        _allow(folder, "model", within=named, beside=[] if named else [Path(configured)])
        if not (folder / "config.json").is_file():
            raise InvalidRequest(f"model: there is no config.json in {str(folder)!r}", param="model")
        return config.model_copy(update={"model": str(folder)})

    def _file(self, asked: CheckRequest) -> Path | None:
        """The rows to check on; None where neither the request nor the configuration names any."""
        configured = self._settings.verifiers_check
        if asked.file is None:
            return configured
        path = _resolved(asked.file, "check.file")
        _allow(
            path, "check.file", within=self._settings.verifier_dirs, beside=[configured] if configured else []
        )
        return path

    async def _rows(self, old: Loaded, asked: ReloadRequest) -> list[Labelled]:
        """The rows to check on; none only if that is forced."""
        path = self._file(asked.check)
        if path is None and asked.force:
            return []
        if path is None:
            raise InvalidRequest(
                "check.file: name labelled rows, or set verifiers_check in the configuration "
                "(force: true swaps unchecked)",
                param="check.file",
            )
        try:
            rows = fitting(await asyncio.to_thread(read_labelled, path), old.verifier.kind)
        except InvalidRequest as error:
            raise InvalidRequest(f"check.file: {error.message}", param="check.file") from None
        if not rows:
            raise InvalidRequest(
                f"check.file: {path} has no rows for a verifier of kind {old.verifier.kind!r}",
                param="check.file",
            )
        return rows


async def _compare(
    old: Loaded, new: Loaded, rows: Sequence[Labelled], asked: ReloadRequest
) -> dict[str, Any]:
    """Both versions on the same rows, and whether the new one is good enough."""
    before = after = None
    if rows:
        try:
            before = await measure(old.verifier, rows)
        except (VerifierUnavailable, InvalidRequest):
            if not asked.force:
                raise
        after = await measure(new.verifier, rows)
    return {
        "checked_at": int(time.time()),
        "version": new.version,
        "accepted": asked.force or _good_enough(before, after, asked.check.max_auc_drop),
        "forced": asked.force,
        "max_auc_drop": asked.check.max_auc_drop,
        "rows": len(rows),
        "old": None if before is None else asdict(before),
        "new": None if after is None else asdict(after),
    }


def _resolved(path: str, param: str) -> Path:
    """An absolute path without links.

    Raises:
        InvalidRequest: no file system has such a path.
    """
    try:
        found = Path(path).resolve()
        found.is_file()
    except (OSError, ValueError):
        raise InvalidRequest(f"{param}: {path!r:.200} is no path", param=param) from None
    return found


def _good_enough(old: Reliability | None, new: Reliability | None, drop: float) -> bool:
    """Whether the new AUC is at most `drop` below the old one.

    Raises:
        InvalidRequest: the rows cannot tell, because all labels are of one class.
    """
    if old is None or new is None or old.auc is None or new.auc is None:
        raise InvalidRequest(
            "check.file: the rows need right and wrong ones, judged by both versions", param="check.file"
        )
    # Answers that a version cannot read are not in its figures: fewer labels are other labels.
    return new.count >= old.count and new.auc >= old.auc - drop


def _worse(name: str, check: Mapping[str, Any]) -> str:
    old, new = check["old"], check["new"]
    return (
        f"verifier {name!r} stays as it is: on {new['count']} labels the new version's AUC is "
        f"{new['auc']:.4f}, the present one's {old['auc']:.4f} on {old['count']}; allowed is a drop of "
        f"{check['max_auc_drop']:g} and no fewer labels (force: true swaps all the same)"
    )


def _allow(path: Path, param: str, *, within: Sequence[Path], beside: Sequence[Path]) -> None:
    """Check that a client may name a path: inside of these folders, or beside one of these paths.

    Raises:
        InvalidRequest: it may not.
    """
    if path.parent in {place.resolve().parent for place in beside}:
        return
    if not any(path.is_relative_to(folder.resolve()) for folder in within):
        raise InvalidRequest(
            f"{param}: {str(path)!r:.200} is in no folder that may be read; verifier_dirs in the "
            "configuration names those",
            param=param,
        )


def describe(name: str, pool: VerifierPool) -> dict[str, Any]:
    """A verifier as the API shows it."""
    loaded = pool.loaded(name)
    return {
        "name": name,
        "kind": loaded.verifier.kind,
        "version": loaded.version,
        "loaded_at": loaded.loaded_at,
        "last_check": pool.checks.get(name),
    }
