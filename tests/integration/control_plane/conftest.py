"""The control plane on SQLite; on either database where a test says `ON_BOTH`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import Database
from tests.integration.control_plane.world import World
from tests.postgres import fresh_database


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of the engine that the test names."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield f"sqlite:///{tmp_path / 'baekman.db'}"
    else:
        with fresh_database(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    db = Database(database_url)
    with (made := World(db)).client:
        yield made
    db.dispose()
