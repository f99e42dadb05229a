"""What tests in several folders share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Server
    from tests.postgres import Postgres


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one real server with the bundled models, ready, with its worker."""
    from tests.integration.conftest import bundled

    yield from bundled(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL; tests that stop it start it again."""
    from tests.postgres import Postgres

    running = Postgres()
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The URL of an empty database."""
    return postgres.database()
