"""One site for the tests of a module that change nothing lasting; a fresh one for those that do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import Database
from tests.integration.incidents.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """On SQLite."""
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    yield Site(db, tmp_path)
    db.dispose()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On SQLite; whoever changes it puts it back."""
    folder = tmp_path_factory.mktemp("site")
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    yield Site(db, folder)
    db.dispose()
