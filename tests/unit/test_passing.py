"""What passes is told apart from what is wrong, for each library that can meet it; its words go nowhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.errors import Problem
from app.passing import PASSING, passing
from app.storage.kinds import open_store
from tests.little_room import little_room

SECRET = "person-of-whom-nobody-speaks"


def code(error: BaseException) -> str | None:
    told = passing(error)
    assert told is None or (
        SECRET not in str(told) and "Retry-After" in told.headers and told.code in PASSING
    )
    return told.code if told else None


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    db = Database(f"postgresql+psycopg://nobody@/x?host={tmp_path}")
    with pytest.raises(SQLAlchemyError) as met, db.read() as session:
        session.execute(text("SELECT 1"))
    assert code(met.value) == "database_unavailable"
    assert not db.ping()
    db.dispose()


def test_a_database_without_room(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        with db.engine.connect() as connection:
            connection.execute(text("CREATE TABLE t (x TEXT)"))
            connection.execute(text("PRAGMA max_page_count=4"))
            with pytest.raises(SQLAlchemyError) as met:
                connection.execute(text("INSERT INTO t VALUES (:x)"), {"x": SECRET * 10_000})
        assert code(met.value) == "storage_full"
    finally:
        db.dispose()


def test_a_statement_that_is_wrong_does_not_pass(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    try:
        for wrong in ("SELECT nothing FROM nowhere", "SELEKT"):
            with pytest.raises(SQLAlchemyError) as met, db.read() as session:
                session.execute(text(wrong))
            assert code(met.value) is None
    finally:
        db.dispose()


def test_a_disk_without_room(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as met, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    assert (met.value.errno, code(met.value)) == (errno.ENOSPC, "storage_full")
    assert code(OSError(errno.EACCES, SECRET)) is None
    assert code(ValueError("No space left on device")) is None


def test_an_engine_without_room(tmp_path: Path) -> None:
    con = duckdb.connect(config={"memory_limit": "20MB", "threads": 1})
    con.execute(f"SET temp_directory = '{tmp_path}'; SET max_temp_directory_size = '1MB'")
    with pytest.raises(duckdb.Error) as met:
        con.execute(
            "CREATE TABLE t AS SELECT hash(i) AS a, hash(i + 1) AS b, hash(i + 2) AS c FROM range(5000000) r(i)"
        )
    assert code(met.value) == "storage_full"
    with pytest.raises(duckdb.Error) as wrong:
        con.execute(f"SELECT * FROM read_parquet('{tmp_path}/{SECRET}')")
    assert code(wrong.value) is None
    con.close()


def test_a_folder_without_room_takes_nothing_by_halves(tmp_path: Path) -> None:
    store, file = open_store((tmp_path / "store").as_uri()), tmp_path / "file"
    file.write_bytes(os.urandom(3_000_000))
    with little_room(1_000_000), pytest.raises(Problem) as met:
        store.put_file(file, "ver_1/person")
    assert met.value.code == "storage_full"
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    store.put_file(file, "ver_1/person")
    assert store.digest("ver_1/person")[0] == 3_000_000
