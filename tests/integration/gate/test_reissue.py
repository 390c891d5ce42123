"""Reissues that go on from the last generation: what stays, what never does, and what happens when memory fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import select

from app.db import Database
from app.deid import fitting
from app.deid.anonymity.recoding import coarsen
from app.engines import Kept
from app.engines.duckdb import keeping
from app.engines.duckdb.again import DuckDbRerun
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.gate import reissuing
from app.gate.remembering import recollect
from app.jobs import JobContext
from app.ledger.parts import block, listed
from app.models import Extract, Permit, VaultTable
from tests import world as worlds
from tests.world import World

PEOPLE = 160


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield worlds.make(db, tmp_path, PEOPLE, rows_per_part=60)
    db.dispose()


def _release(world: World, extract: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    world.gate.release(extract, lambda **said: told.update(said))
    return told


def _leave(world: World, place: int) -> str:
    """Somebody takes everything back; the pseudonym is not needed, only the key."""
    for domain in worlds.DOMAINS:
        world.set_consent(world.keys[place], domain, "withdrawn")
    return str(world.keys[place])


def _tasks(world: World) -> ExtractTasks:
    later = ExtractService(world.db, lambda: worlds.NOW + timedelta(days=100), world.gate.outbox)
    return ExtractTasks(later, world.gate)


def _memory(world: World, extract: str) -> Path:
    [path] = (world.var / "memory" / extract).iterdir()
    return path


def _parts(world: World, extract: str) -> dict[str, dict[str, Any]]:
    with world.db.read() as session:
        return {p["name"]: p for p in listed(session, extract)}


def test_parts_that_nobody_left_stay_open_as_they_are(world: World) -> None:
    extract = world.permit()
    assert _release(world, extract)["way"] == "first"
    before = _parts(world, extract)
    _leave(world, 3)
    told = _release(world, extract)
    after = _parts(world, extract)
    assert told["way"] == "changed_parts"
    assert told["written"] + told["stay"] == len(after)
    kept = before.keys() & after.keys()
    assert len(kept) == told["stay"] > told["written"]
    assert all(after[name] == before[name] for name in kept)


@pytest.mark.again
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("gone", marks=pytest.mark.long),
        "altered",
        pytest.param("of another generation", marks=pytest.mark.long),
        pytest.param("of another extract", marks=pytest.mark.again),
    ],
)
def test_without_its_memory_the_whole_is_built(world: World, damage: str) -> None:
    extract, other = world.permit(), world.permit()
    _release(world, extract)
    path = _memory(world, extract)
    if damage == "gone":
        path.unlink()
    elif damage == "altered":
        sealed = bytearray(path.read_bytes())
        sealed[len(sealed) // 2] ^= 1
        path.write_bytes(sealed)
    elif damage == "of another generation":
        earlier = path.read_bytes()
        _release(world, extract)
        _memory(world, extract).write_bytes(earlier)
    else:
        _release(world, other)
        path.write_bytes(_memory(world, other).read_bytes())
    assert _release(world, extract)["way"] == "no_memory"
    assert _release(world, extract)["way"] == "changed_parts"


@pytest.mark.again
def test_other_data_in_the_vault_are_read_in_whole(world: World) -> None:
    extract = world.permit()
    _release(world, extract)
    with world.db.unit_of_work() as session:
        table = session.get_one(VaultTable, (world.version_id, "visit", 1))
        path = world.var / "vault" / str(table.object_name)
        path.with_name("other.parquet").write_bytes(path.read_bytes())
        table.object_name = "other.parquet"
    assert _release(world, extract)["way"] == "other_data"


@pytest.mark.again
def test_what_an_earlier_version_kept_makes_it_a_whole_build(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = world.permit()
    _release(world, extract)

    def earlier(*asked: Any) -> Any:
        found = recollect(*asked)
        assert found is not None
        people = found.kept.tables["people"].rename_columns({"name": "pseudonym"})
        about = {**found.kept.about, "form": keeping.FORM - 1}
        return replace(found, kept=Kept(about, {**found.kept.tables, "people": people}))

    monkeypatch.setattr(reissuing, "recollect", earlier)
    assert _release(world, extract)["way"] == "other_rules"


def _destroy(world: World, key: int) -> None:
    """The person's rows leave every table of the vault, in a generation of its own, as destruction does."""
    with world.db.unit_of_work() as session:
        newest: dict[str, VaultTable] = {}
        for row in session.scalars(select(VaultTable).order_by(VaultTable.generation)):
            newest[row.table_name] = row
        for row in newest.values():
            old = world.var / "vault" / str(row.object_name)
            made = old.with_name(f"{row.table_name}-{row.generation + 1}.parquet")
            query = f"SELECT * FROM '{old}' WHERE __participant <> {key}"
            duckdb.execute(f"COPY ({query}) TO '{made}' (FORMAT parquet, COMPRESSION zstd)").fetchall()
            columns = {c.name: getattr(row, c.name) for c in VaultTable.__table__.columns}
            columns |= {"generation": row.generation + 1, "object_name": made.name}
            session.add(VaultTable(**columns))
            old.unlink()


@pytest.mark.again
def test_destroyed_rows_are_missed_by_nobody_whose_leaving_was_told_before(world: World) -> None:
    extract = world.permit()
    _release(world, extract)
    _leave(world, 3)
    _release(world, extract)
    _destroy(world, world.keys[3])
    _leave(world, 5)
    assert _release(world, extract)["way"] == "changed_parts"
    parts = set(_parts(world, extract))
    world.gate.forget(extract)
    _release(world, extract)
    assert set(_parts(world, extract)) == parts


@pytest.mark.again
def test_whose_rows_are_destroyed_before_the_reissue_makes_it_a_whole_build(world: World) -> None:
    extract = world.permit()
    _release(world, extract)
    _leave(world, 3)
    _destroy(world, world.keys[3])
    assert _release(world, extract)["way"] == "rows_destroyed"


@pytest.mark.again
def test_a_part_that_is_closed_or_lost_is_written_again(world: World) -> None:
    extract = world.permit()
    _release(world, extract)
    closed, lost = sorted(_parts(world, extract).values(), key=lambda p: str(p["name"]))[:2]
    with world.db.unit_of_work() as session:
        block(session, extract, [(closed["table"], closed["position"])], "participant_withdrew", "wdr_1")
    path = world.var / "outbox" / extract / lost["name"]
    path.unlink()
    told = _release(world, extract)
    assert (told["way"], told["written"]) == ("changed_parts", 2)
    assert {closed["name"], lost["name"]} <= _parts(world, extract).keys()
    assert path.exists()


def test_the_verifier_judges_the_parts_that_stay_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: the engine forgets where the person's rows were. No part with them is taken for good."""
    extract = world.permit()
    _release(world, extract)
    gone = world.pseudonyms(extract)[world.keys[2]]
    _leave(world, 2)
    monkeypatch.setattr(DuckDbRerun, "_differing", lambda *_: set())
    assert _release(world, extract)["way"] == "verifier_refused"
    for table in ("person", "visit", "steps"):
        assert world.rows(extract, table, f"SELECT count(*) FROM parts WHERE pid = '{gone}'") == [(0,)]


@pytest.mark.again
def test_k_is_verified_over_all_parts_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: classes that fell below k keep their labels in the reissue."""
    extract = world.permit()
    _release(world, extract)
    label = world.rows(
        extract, "person", "SELECT age, sex FROM parts GROUP BY ALL ORDER BY count(*), age LIMIT 1"
    )
    age, sex = label[0]
    held = world.rows(extract, "person", f"SELECT pid FROM parts WHERE age = '{age}' AND sex = '{sex}'")
    names = {row[0] for row in held}
    leaving = [key for key, name in world.pseudonyms(extract).items() if name in names][4:]
    for key in leaving:
        _leave(world, world.keys.index(key))
    calls: list[int] = []

    def forgetful(recoding, freq, fitted, k):
        calls.append(k)
        return recoding if len(calls) == 1 else coarsen(recoding, freq, fitted, k)

    monkeypatch.setattr(fitting, "coarsen", forgetful)
    monkeypatch.setattr(DuckDbRerun, "smallest_group", lambda *_: 99)
    assert _release(world, extract)["way"] == "verifier_refused"
    smallest = world.rows(
        extract, "person", "SELECT min(n) FROM (SELECT count(*) n FROM parts GROUP BY age, sex)"
    )
    assert smallest[0][0] >= 5


@pytest.mark.again
def test_a_fault_of_ours_is_not_met_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = world.permit()
    _release(world, extract)

    def broken(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(DuckDbRerun, "write", broken)
        with pytest.raises(RuntimeError):
            _release(world, extract)
    assert _release(world, extract)["way"] == "no_memory"


def test_what_is_remembered_is_sealed_and_goes_with_the_extract(world: World) -> None:
    extract = world.permit()
    _release(world, extract)
    sealed = _memory(world, extract).read_bytes()
    names = world.pseudonyms(extract).values()
    assert not any(name.encode() in sealed for name in names)
    bits = [int(name, 16) for name in names]
    assert not any(b.to_bytes(8, order) in sealed for b in bits for order in ("little", "big"))
    assert b"baekman" not in sealed
    assert b"position" not in sealed
    with world.db.unit_of_work() as session:
        session.get_one(Extract, extract).state = "expired"
    _tasks(world).destroy(JobContext("job", extract, {}, world.db))
    assert [p for p in (world.var / "memory").rglob("*") if p.is_file()] == []


@pytest.mark.again
def test_where_nothing_may_be_built_any_more_nothing_is_remembered(world: World) -> None:
    extract = world.permit()
    _release(world, extract)
    with world.db.unit_of_work() as session:
        row = session.get_one(Extract, extract)
        row.state = "ready"
        session.get_one(Permit, row.permit_id).state = "revoked"
    _tasks(world).reissue(JobContext("job", extract, {}, world.db))
    assert [p for p in (world.var / "memory").rglob("*") if p.is_file()] == []


@pytest.mark.again
def test_who_left_is_in_no_memory_of_the_next_generation(world: World) -> None:
    from app.models import Project

    extract = world.permit()
    _release(world, extract)
    gone = int(_leave(world, 2))
    _release(world, extract)
    with world.db.read() as session:
        row = session.get_one(Extract, extract)
        wrapped = session.get_one(Project, row.project_id).key_wrapped or b""
    found = recollect(world.gate, extract, 2, world.keyring.unwrap(wrapped))
    assert found is not None
    name = world.pseudonyms(extract)[gone]
    keyed = [t for t in found.kept.tables.values() if "key" in t.column_names]
    assert len(keyed) == 3
    assert all(gone not in t["key"].to_pylist() for t in keyed)
    named = [t for t in found.evidence.tables.values() if "p" in t.column_names]
    assert len(named) == 4
    others = {int(n, 16) for key, n in world.pseudonyms(extract).items() if key != gone}
    assert all(others & set(t["p"].to_pylist()) for t in named)
    assert all(int(name, 16) not in t["p"].to_pylist() for t in named)
    assert int(name, 16) not in found.kept.tables["people"]["name"].to_pylist()
