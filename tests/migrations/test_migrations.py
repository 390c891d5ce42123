"""The migrations make what the models say, on both databases, forwards and backwards; a change of a model is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import Column, Index, MetaData, String, Table, inspect, select
from sqlalchemy.exc import IntegrityError

from app import ledger
from app.audit import record
from app.db import Database, new_id
from app.models import (
    AccessRequest,
    Base,
    BlockMark,
    Dataset,
    DatasetVersion,
    Institution,
    Withdrawal,
    migrating,
)
from tests import world as worlds
from tests.amounts import first
from tests.postgres import fresh_database
from tests.schema import with_migrations


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.dispose()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database at the newest migration, for tests that only look at it."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('migrated') / 'baekman.db'}"
        else:
            url = stack.enter_context(fresh_database(request.getfixturevalue("postgres_url")))
        made = Database(url)
        with_migrations(made)
        yield made
        made.dispose()


def ours(db: Database) -> set[str]:
    """The tables of a database, without the one in which Alembic keeps its place."""
    return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


@pytest.mark.both
def test_an_empty_database_is_brought_to_what_the_models_say(db: Database) -> None:
    assert not migrating.is_current(db)
    assert migrating.differences(db) != []
    migrating.upgrade(db)
    assert migrating.is_current(db)
    assert ours(db) == set(Base.metadata.tables)
    assert migrating.differences(db) == []


@pytest.mark.again
def test_upgrading_again_changes_nothing(db: Database) -> None:
    migrating.upgrade(db)
    now = datetime(2026, 3, 2, tzinfo=UTC)
    made = new_id("ins")
    with db.unit_of_work() as session:
        session.add(Institution(id=made, name="한빛대학교병원", created_at=now))
    migrating.upgrade(db)
    with db.read() as session:
        held = session.get_one(Institution, made)
    assert (held.name, held.created_at) == ("한빛대학교병원", now)


@pytest.mark.again
def test_down_to_nothing_and_up_again(db: Database) -> None:
    migrating.upgrade(db)
    migrating.downgrade(db, "base")
    assert ours(db) == set()
    assert not migrating.is_current(db)
    migrating.upgrade(db)
    assert ours(db) == set(Base.metadata.tables)
    assert migrating.differences(db) == []


def test_what_points_at_a_table_survives_that_it_is_made_anew(db: Database) -> None:
    migrating.upgrade(db, "0001")
    now = "2026-03-02 09:00:00"
    with db.engine.begin() as connection:
        for statement in (
            f"INSERT INTO institutions VALUES ('ins_1', 'n', '', false, 'KR', '{now}')",
            f"INSERT INTO cohorts VALUES ('coh_1', 'ins_1', 'n', '', '', '{{}}', '[]', 'k', 0, '{now}')",
            f"INSERT INTO datasets VALUES ('ds_1', 'coh_1', 'n', '', '', '[]', '{now}')",
            "INSERT INTO dataset_versions (id, dataset_id, number, state, people, revision, created_at) "
            f"VALUES ('ver_1', 'ds_1', 1, 'draft', 0, 1, '{now}')",
        ):
            connection.exec_driver_sql(statement)
    migrating.upgrade(db)
    with db.read() as session:
        assert session.get_one(DatasetVersion, "ver_1").dataset_id == "ds_1"
        assert session.get_one(Dataset, "ds_1").cohort_id == "coh_1"


def test_a_migration_that_leaves_orphans_is_not_committed(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/one.db")
    with_migrations(db)
    with pytest.raises(RuntimeError, match="point at nothing"), db.migration() as connection:
        connection.exec_driver_sql(
            "INSERT INTO datasets (id, cohort_id, name, name_ko, description, keywords, created_at)"
            " VALUES ('d', 'nobody', 'n', '', '', '[]', 'now')"
        )
    with db.read() as session:
        assert session.get(Dataset, "d") is None
    now = datetime(2026, 3, 2, tzinfo=UTC)
    with db.unit_of_work() as session:  # and the keys are looked at again afterwards
        session.add(Dataset(id="d", cohort_id="nobody", name="n", keywords=[], created_at=now))
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()
    db.dispose()


def test_what_was_told_of_a_withdrawal_on_its_way_is_not_told_again(tmp_path: Path) -> None:
    """0023: marks get the time of the line that told; who is told nothing yet stays so."""
    db = Database(f"sqlite:///{tmp_path}/one.db")
    with_migrations(db)
    world = worlds.make(db, tmp_path, 20)
    extract, at = world.permit(), datetime(2026, 3, 2, tzinfo=UTC)
    with db.unit_of_work() as session:
        for name in ("told", "waits"):
            session.add(
                Withdrawal(id=f"wdr_{name}", cohort_id=world.cohort_id, participant_key=world.keys[0], domains=[],
                           kind="destroy", state="blocked", receipt={}, taken_at=at, closed_at=None, commitment=None)
            )  # fmt: skip
            ledger.mark_each(session, [extract], f"wdr_{name}", [], at=at)
        record(session, stream="project:p", event="recall.settled", actor="platform", object_id=extract, at=at,
               data={"withdrawal": "wdr_told", "generation": 2, "extract": "ready"})  # fmt: skip
    migrating.downgrade(db, "0022")
    migrating.upgrade(db)
    with db.read() as session:
        told = {mark.withdrawal_id: mark.told_at for mark in session.scalars(select(BlockMark))}
    assert told == {"wdr_told": at, "wdr_waits": None}
    db.dispose()


def test_what_was_approved_on_conditions_is_not_decided(tmp_path: Path) -> None:
    """0029: where it was returned since, too; what was decided stays so."""
    db = Database(f"sqlite:///{tmp_path}/one.db")
    with_migrations(db)
    world = worlds.make(db, tmp_path, 20)
    states = ("conditionally_approved", "returned", "approved")
    with db.unit_of_work() as session:
        for state in states:
            row = worlds._request(world, world.plan, "client:researcher")
            row.id, row.state = f"req_{state}", state
            session.add(row)
    migrating.downgrade(db, "0028")
    migrating.upgrade(db)
    with db.read() as session:
        decided = [session.get_one(AccessRequest, f"req_{state}").decided_at for state in states]
    assert decided == [None, None, worlds.NOW]
    db.dispose()


@cache
def planted() -> dict[str, tuple[MetaData, str]]:
    """By name: a copy of the models with one change, and what the difference must be called."""
    return {name: (metadata, kind) for name, metadata, kind in _planted()}


def _planted() -> Iterator[tuple[str, MetaData, str]]:

    def copy() -> MetaData:
        metadata = MetaData(naming_convention=Base.metadata.naming_convention)
        for table in Base.metadata.sorted_tables:
            table.to_metadata(metadata)
        return metadata

    more = copy()
    more.tables["parts"].append_column(Column("colour", String(10)))
    yield "a new column", more, "add_column"
    fewer = MetaData(naming_convention=Base.metadata.naming_convention)
    for table in Base.metadata.sorted_tables:
        if table.name != "block_marks":
            table.to_metadata(fewer)
    yield "a table gone", fewer, "remove_table"
    named = copy()
    Table("visitors", named, Column("id", String(40), primary_key=True))
    yield "a new table", named, "add_table"
    indexed = copy()
    Index("ix_parts_sha256", indexed.tables["parts"].c.sha256)
    yield "a new index", indexed, "add_index"
    nullable = copy()
    nullable.tables["parts"].c.sha256.nullable = True
    yield "a column that may be null", nullable, "modify_nullable"
    longer = copy()
    longer.tables["parts"].c.name.type = String(400)
    yield "a longer column", longer, "modify_type"


PLANTED = (
    "a new column",
    "a table gone",
    "a new table",
    "a new index",
    "a column that may be null",
    "a longer column",
)


@pytest.mark.parametrize("change", first(2, PLANTED))
def test_a_change_of_a_model_without_its_migration_is_seen(
    migrated: Database, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(PLANTED) == planted().keys()
    metadata, kind = planted()[change]
    monkeypatch.setattr(Base, "metadata", metadata)
    assert kind in str(migrating.differences(migrated))
