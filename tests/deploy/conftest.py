"""The files under deploy/, as the tools that will read them see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture(scope="session")
def deploy() -> Path:
    """The folder."""
    return DEPLOY


@pytest.fixture(scope="session")
def overlays() -> dict[str, dict[str, Any]]:
    """Values of the chart by the name of their file; `standard` has none."""
    files = sorted((DEPLOY / "helm" / "values").glob("*.yaml"))
    return {"standard": {}} | {file.stem: yaml.safe_load(file.read_text()) for file in files}
