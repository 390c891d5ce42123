"""The world of uploads on either database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import Database
from tests.integration.uploads.world import World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    db = Database(database_url)
    yield World(tmp_path, db).furnish()
    db.dispose()
