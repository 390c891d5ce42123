"""A moment that lost an object is taken anew, what is lost is told and replaces nothing, old backups go."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pytest
from sqlalchemy import delete, select

from app import backups
from app.backups import BackupError, Made
from app.clock import utc_now
from app.db import Database
from app.keyring import open_keyring
from app.models import AuditLine, VaultTable
from app.operating.doctor import Check, examine
from app.settings import Settings
from app.storage.store import Store
from tests import world as worlds


@dataclass
class Small:
    """A database that names three objects of the vault, and a place for its backups."""

    settings: Settings
    db: Database
    place: backups.Place
    rooms: dict[str, Store]

    def back_up(self, keep: int = 0) -> Made:
        return backups.backup(self.settings, self.db, self.rooms, self.place, utc_now, keep)

    def objects(self) -> list[str]:
        with self.db.read() as session:
            return sorted(name for name in session.scalars(select(VaultTable.object_name)) if name)

    def doctor(self) -> Check:
        found = examine(self.settings, self.db, {}, utc_now())
        return next(one for one in found if one.name == "backup")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    settings = Settings(_env_file=None, var=tmp_path / "var")
    settings.var.mkdir()
    db = Database(settings.database)
    worlds.make(db, settings.var, people=12, keyring=open_keyring(settings))
    rooms = backups.open_rooms(settings, "vault", "outbox", "memory")
    yield Small(settings, db, backups.open_place(settings, str(tmp_path / "place")), rooms)
    db.dispose()


class Meddling(Store):
    """A store in which something happens before the first object is read, or before a certain one is."""

    def __init__(self, store: Store, act: Callable[[], None], only: str | None = None) -> None:
        super().__init__(store._objects, store._root)
        self._store, self._only = store, only
        self._act: Callable[[], None] | None = act
        self._lock = Lock()

    def local_path(self, name: str, scratch: Path) -> Path:
        with self._lock:
            if self._act is not None and self._only in (None, name):
                act, self._act = self._act, None
                act()
        return self._store.local_path(name, scratch)


def test_an_object_that_goes_while_the_moment_is_copied_makes_the_next_moment_count(small: Small) -> None:
    """Plant: while objects are copied a table comes; when its turn comes, within the moment, it has gone again."""
    vault, came = small.rooms["vault"], small.settings.var / "came"
    came.write_bytes(b"a table")

    def comes() -> None:
        vault.put_file(came, "came")
        with small.db.unit_of_work() as session:
            old = session.scalars(select(VaultTable).limit(1)).one()
            told = {one.key: getattr(old, one.key) for one in VaultTable.__table__.columns}
            sha256 = hashlib.sha256(came.read_bytes()).hexdigest()
            session.add(VaultTable(**{**told, "generation": 9, "object_name": "came", "sha256": sha256}))

    def goes() -> None:
        with small.db.unit_of_work() as session:
            session.execute(delete(VaultTable).where(VaultTable.object_name == "came"))
        vault.delete("came")

    small.rooms["vault"] = Meddling(Meddling(vault, goes, only="came"), comes)
    made = small.back_up()
    assert (made.missing, made.manifest.object_count) == ([], 3)
    assert not small.place.store.exists("vault/came")
    assert small.doctor().state == "ok"


def test_what_is_lost_or_broken_is_told_and_the_rest_is_kept(small: Small) -> None:
    lost, broken, _ = small.objects()
    small.rooms["vault"].delete(lost)
    path = small.settings.var / "vault" / broken
    path.write_bytes(b"x")
    made = small.back_up()
    assert made.missing == sorted((f"vault/{lost}", f"vault/{broken}"))
    assert made.manifest.object_count == 1
    assert small.doctor().state == "failed"


def test_what_broke_since_does_not_reach_what_was_kept(small: Small, tmp_path: Path) -> None:
    first = small.back_up()
    broken = small.objects()[0]
    whole = (small.settings.var / "vault" / broken).read_bytes()
    (small.settings.var / "vault" / broken).write_bytes(b"x")
    again = small.back_up()
    assert (again.copied, again.missing) == (0, [])
    assert first.manifest.rows != again.manifest.rows  # the chain has a line more
    kept = small.place.store.digest(f"vault/{broken}")
    assert kept == (len(whole), hashlib.sha256(whole).hexdigest())
    assert small.place.faults(again.manifest, tmp_path) == []


def test_a_lost_database_is_put_back_beside_stores_that_are_there(small: Small) -> None:
    small.back_up()
    small.db.dispose()
    (small.settings.var / "baekman.db").unlink()
    newer, broken = small.settings.var / "vault" / "newer", small.settings.var / "vault" / small_first(small)
    newer.write_bytes(b"of a table that the backup does not know")
    broken.write_bytes(b"x")
    small.rooms["memory"].put_file(newer, "ext_1/1")
    with pytest.raises(BackupError, match="1 objects already that are not of this backup"):
        backups.restore(small.settings, small.db, small.rooms, small.place)
    assert not (small.settings.var / "baekman.db").exists()
    done = backups.restore(small.settings, small.db, small.rooms, small.place, discard=True)
    assert (done.removed, newer.exists(), small.rooms["memory"].names()) == (1, False, [])
    assert broken.read_bytes() != b"x"
    assert len(small.objects()) == 3


def small_first(small: Small) -> str:
    return next(iter(small.rooms["vault"].names()))


def test_old_backups_go_with_what_only_they_hold(small: Small, tmp_path: Path) -> None:
    first, gone = small.back_up(keep=2), small.objects()[0]
    with small.db.unit_of_work() as session:
        session.execute(delete(VaultTable).where(VaultTable.object_name == gone))
    small.rooms["vault"].delete(gone)
    (tmp_path / "rest").write_bytes(b"of a backup that was never finished")
    small.place.store.put_file(tmp_path / "rest", "pieces/abc")
    second = small.back_up(keep=2)
    assert small.place.manifests() == [first.manifest.id, second.manifest.id]
    assert second.pruned == 1
    assert small.place.store.exists(f"vault/{gone}")
    third = small.back_up(keep=2)
    assert small.place.manifests() == [second.manifest.id, third.manifest.id]
    assert not small.place.store.exists(f"vault/{gone}")
    for made in (second, third):
        assert small.place.faults(made.manifest, tmp_path) == []
    with small.db.read() as session:
        lines = session.scalars(select(AuditLine.object_id).where(AuditLine.event == "backup.made")).all()
    assert sorted(lines) == [one.manifest.id for one in (first, second, third)]


def test_one_backup_at_a_time_and_one_installation_in_a_place(small: Small, tmp_path: Path) -> None:
    inside: list[str] = []

    def another() -> None:
        with pytest.raises(BackupError, match="another backup is being made"):
            small.back_up()
        inside.append("refused")

    small.rooms["vault"] = Meddling(small.rooms["vault"], another)
    small.back_up()
    assert inside == ["refused"]
    small.back_up()  # from now on the place knows whose it is
    settings = Settings(_env_file=None, var=tmp_path / "other")
    settings.var.mkdir()
    db = Database(settings.database)
    worlds.make(db, settings.var, people=12, keyring=open_keyring(settings))
    elsewhere = backups.open_place(settings, str(tmp_path / "elsewhere"))
    other = Small(settings, db, elsewhere, backups.open_rooms(settings, "vault", "outbox"))
    other.back_up()  # its chain begins with this
    other.place = small.place
    with pytest.raises(BackupError, match="another installation"):
        other.back_up()
    db.dispose()


def test_the_doctor_tells_when_there_is_no_backup_or_an_old_one(small: Small) -> None:
    assert (small.doctor().state, "ever" in small.doctor().detail) == ("warning", True)
    small.back_up()
    assert small.doctor().state == "ok"
    old = small.settings.model_copy(update={"backup_hours": 0})
    assert Small(old, small.db, small.place, small.rooms).doctor().state == "ok"
    with small.db.read() as session:
        at = session.scalars(select(AuditLine.at).where(AuditLine.event == "backup.made")).one()
    checks = examine(small.settings, small.db, {}, at.replace(year=at.year + 1))
    assert next(one for one in checks if one.name == "backup").state == "warning"
