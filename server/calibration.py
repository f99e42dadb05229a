"""A calibrated policy in the configuration: what `mull calibrate` writes, checked and merged.

The file is JSON: Python's standard library writes no TOML, and nobody edits it by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mull.errors import one_of
from mull.server.errors import invalid
from mull.server.schemas import Effort


class Calibration(BaseModel):
    """The content of the file. The presets are checked with those of the configuration."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1]
    presets: dict[str, dict[str, Any]] = Field(min_length=1)
    efforts: dict[Effort, str]
    provenance: dict[str, Any] = Field(
        default_factory=dict, description="Problems, model, date and figures, for the reader."
    )


def read(path: Path) -> Calibration:
    """Read a policy.

    Raises:
        ValueError: the file cannot be read or is no policy; the message names the field.
    """
    try:
        found = Calibration.model_validate(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ValueError(f"calibration: {path}: {(error.strerror or 'cannot be read').lower()}") from None
    except ValidationError as error:
        raise ValueError(f"calibration: {path}: {invalid(error, Calibration).message}") from None
    except ValueError as error:
        raise ValueError(f"calibration: {path} is no JSON: {error}") from None
    for effort, preset in found.efforts.items():
        if preset not in found.presets:
            raise ValueError(
                f"calibration: {path}: efforts.{effort}: unknown preset {preset!r}; "
                f"known are {one_of(found.presets)}"
            )
    return found


def merged(data: dict[str, Any], found: Calibration, standard: dict[str, Any]) -> dict[str, Any]:
    """A configuration with a policy's presets and efforts.

    What the configuration sets itself wins over the policy, which wins over `standard`, the presets and
    efforts of a configuration that says nothing.
    """
    own = {name: data.get(name, {}) for name in ("presets", "efforts")}
    if not all(isinstance(part, dict) for part in own.values()):
        return data  # to be refused with the name of the field
    return data | {
        "presets": {**standard.get("presets", {}), **found.presets, **own["presets"]},
        "efforts": {**standard.get("efforts", {}), **found.efforts, **own["efforts"]},
    }
