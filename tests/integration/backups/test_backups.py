"""A restored backup replays later withdrawals before it serves; what is not whole, or under another key, is refused."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app import backups
from app.auth.policy import Actor
from app.cli import app as shell
from app.clock import utc_now
from app.consents import register
from app.consents.register import Statement
from app.db import Database
from app.errors import Problem
from app.jobs import enqueue
from app.jobs.engine import InlineEngine
from app.keyring import open_keyring
from app.main import Built, build, prepare
from app.models import (
    AuditLine,
    BlockMark,
    Cohort,
    Consent,
    Extract,
    Institution,
    Job,
    Part,
    Participant,
    Permit,
    Withdrawal,
)
from app.settings import Settings
from app.storage.journal import Journal, JournalBroken
from app.withdrawals.journal import entry_of
from tests import world as worlds
from tests.amounts import first
from tests.world import World


@dataclass
class Moving:
    """A clock that the test moves."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


def source(key: int) -> str:
    return f"hospital-{key:06}"


@dataclass
class Site:
    """A running house with an extract that was handed out, and where its backup lies."""

    settings: Settings
    built: Built
    world: World
    extract: str
    hospital: Actor
    folder: Path

    @property
    def jobs(self) -> InlineEngine:
        return InlineEngine(self.built.db, self.world.clock, self.built.tasks)

    def withdraw(self, key: int) -> None:
        self.built.house.withdrawals.take(
            self.hospital, self.world.cohort_id, source(key), [], "no_further_use"
        )

    def a_register_says(self, key: int, said: Statement) -> None:
        """What the check of a register does; its job comes later."""
        with self.built.db.unit_of_work() as session:
            lost = register.set_consent(session, self.world.cohort_id, key, worlds.DOMAINS, said,
                                        at=self.world.clock(), actor="client:hospital")  # fmt: skip
            for kind, domains in lost.items():
                leave = self.built.house.withdrawals.leave
                leave(session, self.world.cohort_id, kind, [(key, domains)], worlds.NOW)

    def back_up(self) -> Path:
        folder = self.folder / "backup"
        rooms = backups.open_rooms(self.settings, "vault", "outbox")
        place = backups.open_place(self.settings, str(folder))
        made = backups.backup(self.settings, self.built.db, rooms, place, utc_now)
        assert made.missing == []
        return folder

    def restore(self, folder: Path) -> None:
        db = Database(self.settings.database)
        try:
            rooms = backups.open_rooms(self.settings, "vault", "outbox", "memory")
            backups.restore(self.settings, db, rooms, backups.open_place(self.settings, str(folder)))
        finally:
            db.dispose()

    def destroy(self) -> None:
        """The machine is lost; the master key and the journal were kept elsewhere."""
        self.built.db.dispose()
        key = (self.settings.var / "master.key").read_bytes()
        shutil.rmtree(self.settings.var)
        self.settings.var.mkdir()
        (self.settings.var / "master.key").write_bytes(key)

    def reopen(self) -> None:
        self.built = build(self.settings, self.world.clock)
        self.world.db, self.world.gate = self.built.db, self.built.house.catalog.gate  # type: ignore[assignment]

    def readable(self) -> set[str]:
        """The pseudonyms in everything that the extract hands out now."""
        found: set[str] = set()
        with self.built.db.read() as session:
            names = session.scalars(select(Part.name).where(Part.extract_id == self.extract)).all()
        for name in names:
            try:
                self.built.house.extracts.check_part(self.extract, name)
            except Problem:
                continue
            column = pq.read_table(self.settings.var / "outbox" / self.extract / name, columns=["pid"])["pid"]
            found |= set(column.cast("string").to_pylist())
        return found


def _settings(folder: Path) -> Settings:
    return Settings(_env_file=None, var=folder / "var", journal=folder / "elsewhere" / "journal")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A house that is closed again; each test opens a copy of it."""
    folder = tmp_path_factory.mktemp("begun")
    settings = _settings(folder)
    built = build(settings, lambda: worlds.NOW)
    prepare(built)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(worlds, "PURPOSE", {"term": "HMB"})
        world = worlds.make(built.db, settings.var, people=120, keyring=open_keyring(settings))
        with built.db.unit_of_work() as session:
            cohort = session.get_one(Cohort, world.cohort_id)
            hasher = register.hasher_of(world.keyring, cohort)
            for key in world.keys:
                session.get_one(Participant, key).identity = hasher.digest(source(key))
            hospital = Actor("client:h", "h", "institution", cohort.institution_id, frozenset())
        extract = world.permit()
        world.release(extract)
    built.db.dispose()
    return Site(settings, built, world, extract, hospital, folder)


@pytest.fixture
def site(begun: Site, tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(begun.folder, tmp_path, dirs_exist_ok=True)
    settings = _settings(tmp_path)
    built, keyring = build(settings, begun.world.clock), open_keyring(settings)
    gate = worlds.gate_of(built.db, settings.var, begun.world.clock, keyring)
    world = replace(begun.world, db=built.db, gate=gate, keyring=keyring, var=settings.var)
    made = Site(settings, built, world, begun.extract, begun.hospital, tmp_path)
    yield made
    made.built.db.dispose()


def test_who_withdrew_after_the_backup_is_seen_by_nobody_after_the_restore(site: Site) -> None:
    called, loaded = site.world.keys[2], site.world.keys[4]
    names = {site.world.pseudonyms(site.extract)[key] for key in (called, loaded)}
    folder = site.back_up()
    site.withdraw(called)
    site.a_register_says(loaded, Statement("withdrawn"))
    site.jobs.drain()
    assert names.isdisjoint(site.readable())
    site.destroy()
    site.restore(folder)
    site.reopen()
    assert names <= site.readable()  # so would it be served, if nothing were replayed
    replayed = prepare(site.built, "2026-11-25T00:00:00+00:00")
    assert (replayed.taken, replayed.unknown) == (2, 0)
    assert names.isdisjoint(site.readable())  # before any job
    site.jobs.drain()
    assert site.readable()
    assert names.isdisjoint(site.readable())
    with site.built.db.read() as session:
        consents = select(Consent.state).where(Consent.participant_key.in_((called, loaded)))
        assert set(session.scalars(consents)) == {"withdrawn"}
        lines = session.scalars(select(AuditLine).where(AuditLine.event == "backup.restored")).all()
        assert [line.data["replayed"] for line in lines] == [2]
    assert prepare(site.built).taken == 0


def test_consents_given_after_the_withdrawals_are_loaded_again_after_the_restore(site: Site) -> None:
    """They are days later than what was taken back, and earlier than the restore."""
    called, ended = site.world.keys[2], site.world.keys[4]
    now = Moving(worlds.NOW)
    site.world.clock = now
    site.reopen()
    with site.built.db.unit_of_work() as session:
        for domain in worlds.DOMAINS:
            session.get_one(Consent, (ended, domain)).valid_until = now().date()
    folder = site.back_up()
    now.at += timedelta(days=10)
    day = now().date()
    site.withdraw(called)
    assert site.built.house.withdrawals.end_by_date() == 1
    site.destroy()
    site.restore(folder)
    now.at += timedelta(days=50)
    site.reopen()
    assert prepare(site.built).taken == 2
    with site.built.db.read() as session:
        given = session.get_one(Consent, (ended, "clinical")).given_at
    said = {called: ("withdrawn", day), ended: ("ended", given)}
    for key in (called, ended):
        with site.built.db.read() as session:
            taken = session.get_one(Consent, (key, "clinical"))
        assert (taken.state, taken.given_at) == said[key]
        # Who has withdrawn gives their consent anew; what ended by its date may have been renewed before that.
        days = 10 if key == called else -2
        site.a_register_says(key, Statement("granted", given_at=day + timedelta(days=days)))
        with site.built.db.read() as session:
            assert session.get_one(Consent, (key, "clinical")).state == "granted"


def test_a_word_that_is_later_than_a_line_of_the_journal_stays(site: Site) -> None:
    """The line of a withdrawal whose commit failed: the person said otherwise before the next start. Who withdrew twice
    is withdrawn from the second time on, whatever was given in between."""
    key, before, since = site.world.keys[2], worlds.NOW - timedelta(days=5), worlds.NOW - timedelta(days=1)
    with site.built.db.unit_of_work() as session:
        identity = session.get_one(Participant, key).identity
        said = session.get_one(Consent, (key, "clinical"))
        said.given_at, said.changed_at = worlds.NOW.date() - timedelta(days=3), worlds.NOW - timedelta(days=3)
    line = entry_of("wdr_lost", site.world.cohort_id, identity, worlds.DOMAINS, "no_further_use", before)
    again = entry_of("wdr_again", site.world.cohort_id, identity, ["lifelog"], "no_further_use", since)
    Journal(site.settings.journal_path).add(line, again)
    assert prepare(site.built).taken == 2
    with site.built.db.read() as session:
        clinical, lifelog = (session.get_one(Consent, (key, domain)) for domain in worlds.DOMAINS)
    assert clinical.state == "granted"
    assert (lifelog.state, lifelog.given_at) == ("withdrawn", since.date())


def test_lines_of_one_day_are_replayed_in_their_order(site: Site) -> None:
    """A consent of that day was narrowed, then taken back: the narrowing that is replayed is no later word."""
    key, narrowed = site.world.keys[2], worlds.NOW - timedelta(hours=2)
    with site.built.db.unit_of_work() as session:
        identity = session.get_one(Participant, key).identity
        said = session.get_one(Consent, (key, "clinical"))
        said.given_at, said.changed_at = worlds.NOW.date(), worlds.NOW - timedelta(hours=3)
    cohort, left = site.world.cohort_id, {"clinical": ["GRU"]}
    Journal(site.settings.journal_path).add(
        entry_of("wdr_1", cohort, identity, ["clinical"], "narrowed", narrowed, purposes=left),
        entry_of("wdr_2", cohort, identity, ["clinical"], "no_further_use", narrowed + timedelta(hours=1)),
    )
    assert prepare(site.built).taken == 2
    with site.built.db.read() as session:
        assert session.get_one(Consent, (key, "clinical")).state == "withdrawn"


def test_a_replayed_withdrawal_is_of_the_day_that_the_register_told(site: Site) -> None:
    """It came ten days later; a consent of a day in between is later than the word."""
    key, folder, day = site.world.keys[2], site.back_up(), worlds.NOW.date() - timedelta(days=10)
    site.a_register_says(key, Statement("withdrawn", given_at=day))
    site.destroy()
    site.restore(folder)
    site.reopen()
    assert prepare(site.built).taken == 1
    with site.built.db.read() as session:
        assert session.get_one(Consent, (key, "clinical")).given_at == day
    site.a_register_says(key, Statement("granted", given_at=day + timedelta(days=4)))
    with site.built.db.read() as session:
        assert session.get_one(Consent, (key, "clinical")).state == "granted"


@pytest.mark.again
def test_a_register_closes_what_holds_its_people_before_any_job_and_is_not_lost_with_the_machine(
    site: Site,
) -> None:
    """The register's own transaction blocks and writes down; plant: the machine is lost before the first job."""
    key, folder = site.world.keys[2], site.back_up()
    name = site.world.pseudonyms(site.extract)[key]
    assert name in site.readable()
    site.a_register_says(key, Statement("withdrawn", kind="destroy"))
    assert site.readable() == set()  # nothing of the extract flows until it is known which parts hold them
    [line] = [json.loads(one) for one in site.settings.journal_path.read_text().splitlines()]
    site.destroy()
    site.restore(folder)
    site.reopen()
    assert prepare(site.built).taken == 1
    assert site.readable() == set()
    site.jobs.drain()
    assert site.readable()
    assert name not in site.readable()
    with site.built.db.read() as session:
        row = session.get_one(Withdrawal, line["id"])
        assert (row.kind, row.commitment) == ("destroy", line["commitment"])
        assert len(row.commitment or "") == 64
    assert prepare(site.built).taken == 0


@pytest.mark.again
def test_a_register_that_is_carried_out_leaves_no_mark_of_its_own(site: Site) -> None:
    key = site.world.keys[2]
    site.a_register_says(key, Statement("withdrawn"))
    [line] = [json.loads(one) for one in site.settings.journal_path.read_text().splitlines()]
    site.jobs.drain()
    assert site.readable()
    with site.built.db.read() as session:
        assert session.scalars(select(BlockMark.withdrawal_id)).all() == [line["id"]]
        assert session.scalars(select(Withdrawal.id)).all() == [line["id"]]
    assert prepare(site.built).taken == 0


@pytest.mark.again
def test_who_narrowed_their_purposes_after_the_backup_has_narrowed_them_after_the_restore(site: Site) -> None:
    """Of two people the one's purposes still cover the permit's: they stay in, the other leaves; nobody withdrew."""
    out, still, folder = site.world.keys[2], site.world.keys[4], site.back_up()
    names = site.world.pseudonyms(site.extract)
    site.a_register_says(out, Statement("granted", purposes=("POA",), given_at=worlds.NOW.date()))
    site.a_register_says(still, Statement("granted", purposes=("HMB",), given_at=worlds.NOW.date()))
    site.jobs.drain()
    before = site.readable()
    assert (names[out] in before, names[still] in before) == (False, True)
    site.destroy()
    site.restore(folder)
    site.reopen()
    assert names[out] in site.readable()
    assert prepare(site.built).taken == 2
    site.jobs.drain()
    assert site.readable() == before
    with site.built.db.read() as session:
        said = select(Consent.state, Consent.purposes).where(Consent.participant_key.in_((out, still)))
        assert {(row[0], tuple(row[1])) for row in session.execute(said)} == {
            ("granted", ("POA",)), ("granted", ("HMB",)),
        }  # fmt: skip
        assert set(session.scalars(select(Withdrawal.kind))) == {"narrowed"}


@pytest.mark.parametrize(("verbs", "after"), first(1, [
    (["suspend", "revoke"], "revoked"), (["revoke"], "revoked"), (["suspend"], "suspended"),
    (["suspend", "resume"], "active"),
]))  # fmt: skip
def test_a_permit_that_was_stopped_after_the_backup_stays_stopped(
    site: Site, verbs: list[str], after: str
) -> None:
    steward = Actor("client:s", "s", "steward", None, frozenset())
    with site.built.db.read() as session:
        permit = session.get_one(Extract, site.extract).permit_id
    folder = site.back_up()
    for verb in verbs:
        site.built.house.permits.manage(steward, permit, verb, "why")
    readable = site.readable()
    assert bool(readable) == (after == "active")
    site.destroy()
    site.restore(folder)
    site.reopen()
    assert site.readable()  # so would it be served, if nothing were replayed
    prepare(site.built)
    assert site.readable() == readable
    with site.built.db.read() as session:
        assert session.get_one(Permit, permit).state == after
    prepare(site.built)  # and once more it changes nothing
    if after == "suspended":
        site.built.house.permits.manage(steward, permit, "resume", "heard")
        prepare(site.built)
        assert site.readable()


def test_the_journal_names_nobody(site: Site) -> None:
    key = site.world.keys[2]
    site.withdraw(key)
    [line] = site.settings.journal_path.read_text().splitlines()
    assert set(json.loads(line)) == {"id", "cohort", "identity", "domains", "kind", "at"}
    assert source(key) not in line
    assert site.world.pseudonyms(site.extract)[key] not in line


def test_what_cannot_be_written_down_is_not_acknowledged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_handle: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="no space"):
        site.withdraw(site.world.keys[2])
    with site.built.db.read() as session:
        assert session.scalars(select(Withdrawal)).all() == []


@pytest.mark.again
def test_jobs_that_had_been_handed_over_wait_again(site: Site) -> None:
    with site.built.db.unit_of_work() as session:
        job = enqueue(session, "expire", subject="x", at=worlds.NOW)
        session.get_one(Job, job).state = "running"
    folder = site.back_up()
    (site.settings.var / "jobs.db").write_bytes(b"of the lost engine")
    site.destroy()
    (site.settings.var / "jobs.db").write_bytes(b"of the lost engine")
    site.restore(folder)
    assert not (site.settings.var / "jobs.db").exists()
    site.reopen()
    with site.built.db.read() as session:
        assert session.get_one(Job, job).state == "waiting"


def test_what_is_not_whole_or_would_overwrite_is_refused(site: Site, tmp_path: Path) -> None:
    whole, var = site.back_up(), site.settings.var
    with pytest.raises(backups.BackupError, match="a database already"):
        site.restore(whole)
    site.destroy()
    key = (var / "master.key").read_bytes()

    def refused(why: str, folder: Path = whole) -> None:
        with pytest.raises(backups.BackupError, match=why):
            site.restore(folder)
        assert not (var / "baekman.db").exists()

    def copied(name: str) -> tuple[Path, Path]:
        folder = Path(shutil.copytree(whole, tmp_path / name))
        return folder, next(path for path in sorted((folder / "outbox").rglob("*")) if path.is_file())

    altered, part = copied("altered")
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    refused("missing or altered", altered)
    lacking, part = copied("lacking")
    part.unlink()
    refused("missing or altered", lacking)
    bare, _ = copied("bare")
    shutil.rmtree(bare / "backups")
    refused("no whole backup", bare)
    torn, _ = copied("torn")
    piece = next((torn / "pieces").iterdir())
    piece.write_bytes(piece.read_bytes()[:-1])
    refused("missing or altered", torn)
    (var / "master.key").write_bytes(b"k" * 32)
    refused("not the one")
    (var / "master.key").unlink()
    refused("put the master key back")
    (var / "master.key").write_bytes(key)
    (var / "vault" / "newer").write_bytes(b"x")
    refused("objects already")
    (var / "vault" / "newer").unlink()
    site.restore(whole)


def test_the_log_that_a_lost_database_left_behind_is_not_taken_over(site: Site) -> None:
    """A web was killed, and only the database itself was lost or moved away: its log lies beside the restored one."""
    folder, path = site.back_up(), site.settings.var / "baekman.db"
    site.built.db.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("UPDATE permits SET state = 'of the lost one'")
        connection.commit()
        left = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("-wal", "-shm")}
    site.destroy()
    for suffix, content in {**left, "-journal": b"of a change that was not ended"}.items():
        beside = Path(f"{path}{suffix}")
        beside.write_bytes(content)
        with pytest.raises(backups.BackupError, match=f"{beside.name}.* move"):
            site.restore(folder)
        assert not path.exists()
        beside.unlink()
    site.restore(folder)
    site.reopen()
    assert site.readable()


@pytest.mark.again
def test_the_shell_backs_up_and_restores(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAEKMAN_VAR", str(site.settings.var))
    monkeypatch.setenv("BAEKMAN_JOURNAL", str(site.settings.journal_path))
    folder = str(site.folder / "by hand")
    first = CliRunner().invoke(shell, ["backup", folder])
    assert (first.exit_code, ", 0 of them new" in first.output) == (0, False)
    again = CliRunner().invoke(shell, ["backup", folder, "--json"])
    assert (again.exit_code, json.loads(again.stdout)["copied"]) == (0, 0)
    listed = CliRunner().invoke(shell, ["backups", folder, "--verify", "--json"])
    assert [one["id"] for one in json.loads(listed.stdout)["backups"]][1] == json.loads(again.stdout)["id"]
    nowhere = CliRunner().invoke(shell, ["backup"])
    assert (nowhere.exit_code, "say where" in nowhere.stderr) == (1, True)
    site.withdraw(site.world.keys[2])
    site.destroy()
    done = CliRunner().invoke(shell, ["restore", folder])
    assert done.exit_code == 0, done.output
    assert "; 1 later withdrawals" in done.stdout
    site.reopen()


def test_a_torn_last_line_is_left_out_and_a_broken_one_is_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add({"id": "a"}, {"id": "b"})
    with journal.path.open("ab") as file:
        file.write(b'{"id": "c')  # the power went
    journal.add({"id": "d"})
    assert [entry["id"] for entry in journal.entries()] == ["a", "b", "d"]
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"b"', b"b"))
    with pytest.raises(JournalBroken, match="line 2"):
        list(journal.entries())


def test_an_institution_that_left_after_the_backup_gives_nothing_after_the_restore(site: Site) -> None:
    folder, home = site.back_up(), site.hospital.institution_id or ""
    departures = site.built.house.departures
    told = departures.declare(site.hospital, home, "closed", worlds.NOW.date())
    operator = Actor("client:operator", "operator", "platform", None, frozenset())
    departures.confirm(operator, told["id"])
    assert site.readable() == set()  # before any job
    [line] = [json.loads(one) for one in site.settings.journal_path.read_text().splitlines()]
    assert (line["departure"], list(line["withdrawals"])) == (told["id"], [site.world.cohort_id])
    site.destroy()
    site.restore(folder)
    site.reopen()
    assert site.readable()  # so would it be served, if nothing were replayed
    prepare(site.built, "2026-11-25T00:00:00+00:00")
    assert site.readable() == set()
    site.jobs.drain()
    with site.built.db.read() as session:
        row = session.get_one(Withdrawal, line["withdrawals"][site.world.cohort_id])
        assert (row.kind, row.state, row.receipt["destroyed"]["people"]) == ("cohort_ended", "closed", 120)
        assert session.get_one(Institution, home).closed_at is not None
        assert session.scalars(select(Consent)).all() == []
        assert {row.state for row in session.scalars(select(Permit))} == {"revoked"}
    assert site.built.house.departures.replay() == 0
