"""The configuration: what is wrong with it, and what is legal but odd."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from mull.errors import InvalidRequest, one_of
from mull.server.doctor.finding import Finding, fail, ok, warn
from mull.server.settings import ConfigurationError, Settings, load
from mull.verifiers.config import CompositeConfig, models_of, ordered

FIELD = re.compile(
    r"unknown field '([^']+)'|a key of (\S+) must be|(\S+) (?:must be|is required)|([^\s:]+): "
)
"""How a sentence of `mull.server.errors` names its field."""
LOCAL = ("127.0.0.1", "::1", "localhost")
OTHERS = ("MULL_CONFIG", "MULL_URL", "MULL_API_KEY")
"""Variables that the commands read and the server's settings do not."""
SHORTEST = 16
"""Characters of a key that is not soon guessed."""


def check(file: Path | None) -> tuple[Settings | None, list[Finding]]:
    """Look at a configuration.

    Args:
        file: The TOML file; `MULL_CONFIG`, or the bundled configuration, when None.

    Returns:
        The settings, None where they are wrong; and what is wrong or odd.
    """
    try:
        settings = load(file)
    except ConfigurationError as error:
        return None, [fail(*_field(problem), "") for problem in error.problems]
    chosen = file or (Path(os.environ["MULL_CONFIG"]) if "MULL_CONFIG" in os.environ else None)
    return settings, [*_wrong(settings), *_odd(settings, chosen)]


def _field(problem: str) -> tuple[str, str]:
    """The field that a sentence names, and the sentence."""
    found = FIELD.match(problem)
    return next(filter(None, found.groups()), "") if found else "configuration", problem


def _wrong(settings: Settings) -> Iterator[Finding]:
    """What the server would only notice when it starts."""
    try:
        ordered(settings.verifiers)
    except InvalidRequest as error:
        yield fail(error.param or "verifiers", error.message, "")
    for name, model in settings.models.items():
        variable = model.api_key_env
        if variable is not None and not os.environ.get(variable):
            yield fail(f"models.{name}.api_key_env", f"{variable} is not set", f"export {variable}=...")
        if model.path is not None:
            yield from _folder(f"models.{name}.path", model.path)
    for name, config in settings.verifiers.items():
        for model_name in models_of(config):
            if model_name not in settings.models:
                yield from _folder(f"verifiers.{name}.model", model_name)


def hosted(model: str) -> bool:
    """Whether a model's name is one of Hugging Face: `organisation/name`."""
    return model.count("/") == 1 and not model.startswith((".", "/", "~"))


def _folder(subject: str, model: str) -> Iterator[Finding]:
    if not Path(model).exists() and not hosted(model):
        yield fail(
            subject,
            f"there is no folder {model!r}",
            "give a folder that there is, or organisation/name of a model on Hugging Face",
        )


def _odd(settings: Settings, file: Path | None) -> Iterator[Finding]:
    yield from _variables(settings)
    if not settings.keyed and settings.host not in LOCAL:
        yield warn(
            "api_keys",
            f"there are none, and the server listens on {settings.host}: whoever reaches it may use it",
            "make some with `mull keys new` and name the keys_file, or listen on 127.0.0.1",
        )
    short = sum(len(key.get_secret_value()) < SHORTEST for key in settings.api_keys)
    if short:
        yield warn("api_keys", f"{short} have fewer than {SHORTEST} characters", "use long random keys")
    if settings.api_keys and file is not None and file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield warn("api_keys", f"others on this machine can read {file}", f"chmod 600 {file}")
    for name in _unused(settings):
        yield warn(
            f"verifiers.{name}",
            "nothing uses it unless a request names it",
            "name it in defaults.verifiers or in a preset, or leave it out",
        )
    for field, what in (("tokens", "generate"), ("seconds", "take")):
        if getattr(settings.limits, field) is None:
            yield warn(
                f"limits.{field}",
                f"not set: one request may {what} as much as its strategy likes",
                f"set the most {field} that one request may have",
            )


def _variables(settings: Settings) -> Iterator[Finding]:
    """Variables that look as if they were meant for the server, and are read by nobody."""
    fields = {f"MULL_{name}".upper(): name for name in Settings.model_fields}
    keys = {model.api_key_env for model in settings.models.values()}
    known = {*fields, *OTHERS, settings.admin_key_env, *(key for key in keys if key is not None)}
    for variable in sorted(os.environ):
        if not variable.upper().startswith("MULL_") or variable in known:
            continue
        if variable.upper().partition("__")[0] in fields:
            continue
        near = difflib.get_close_matches(variable.upper(), sorted(known), n=1)
        yield warn(
            variable,
            "no setting has this name, so the variable does nothing",
            f"did you mean {near[0]}?" if near else "unset it, or see the settings in docs/api.md",
        )


def _unused(settings: Settings) -> list[str]:
    used = {settings.defaults.verifier, *settings.defaults.verifiers.values()}
    used |= {preset.verifier for preset in settings.presets.values()}
    for config in settings.verifiers.values():
        if isinstance(config, CompositeConfig):
            used |= set(config.of)
    return [name for name in settings.verifiers if name not in used]


def described(settings: Settings) -> Finding:
    """What the configuration serves."""
    models: Mapping[str, object] = settings.models
    return ok("configuration", f"serves {one_of(models).replace(' or ', ' and ')} on port {settings.port}")
