"""Installations of several processes on PostgreSQL, each a copy of a world that was played once."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from app.main import build, sweep_half_stored
from app.settings import Settings
from tests.faults.lives import SETTINGS, Worlds, worlds
from tests.faults.sound import Acknowledged, Places, must_be_sound


@dataclass
class Moments:
    """The databases of the two moments of a world; none of them is changed."""

    server: str
    names: dict[str, str] = field(default_factory=dict)

    def at(self, moment: str) -> str:
        """The URL of the story while it is played; later names keep what it has come to."""
        if moment == "playing":
            self.names["playing"] = self.copy(None)
        else:
            self.names[moment] = self.copy(self.names["playing"])
        return self.url(self.names["playing"])

    def copy(self, of: str | None) -> str:
        """A new database, a copy of another's or empty."""
        name = f"test_{uuid.uuid4().hex}"
        self._say(f"CREATE DATABASE {name}" + (f" TEMPLATE {of}" if of else ""))
        return name

    def drop(self, name: str) -> None:
        """Whoever holds it open."""
        self._say(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """Of a database of the server."""
        return make_url(self.server).set(database=name).render_as_string(hide_password=False)

    def _say(self, words: str) -> None:
        plain = make_url(self.server).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(words.encode())


@contextmanager
def played_apart(server: str, folder: Path) -> Iterator[tuple[Moments, Worlds]]:
    """The story on PostgreSQL, and its databases until the end."""
    moments = Moments(server)
    try:
        yield moments, worlds(folder, moments.at)
    finally:
        for name in moments.names.values():
            moments.drop(name)


@contextmanager
def installation(moments: Moments, world: Worlds, moment: str, var: Path) -> Iterator[dict[str, Any]]:
    """Settings of a copy of the world at a moment."""
    shutil.copytree(world.before if moment == "before" else world.after, var)
    name = moments.copy(moments.names[moment])
    try:
        yield {**SETTINGS, "var": var, "chores_seconds": 3600, "database_url": moments.url(name)}
    finally:
        moments.drop(name)
        shutil.rmtree(var)


def must_be_sound_tomorrow(settings: dict[str, Any], told: Acknowledged) -> None:
    """Sound after what the chores of a day sweep: beside others a worker sweeps nothing when it begins."""
    built = build(Settings(_env_file=None, **settings))
    try:
        sweep_half_stored(built, timedelta(seconds=-5))
        built.destruction.sweep(older_than=timedelta(seconds=-5))
        must_be_sound(built.db, Places.under(Path(settings["var"])), told)
    finally:
        built.db.dispose()
