"""The list of what must hold after a fault can refuse: each kind of unsoundness is planted once, and found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.jobs import enqueue
from app.models import AuditLine, BlockMark, Extract, Job, Part, Withdrawal
from tests.faults.sound import Acknowledged, Places, must_be_sound, unsound, unsound_to
from tests.integration.destruction.house import LEAVING, House, make
from tests.world import NOW


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house in which somebody left an extract for good, and all is done."""
    made = make(tmp_path_factory.mktemp("house"), people=120)
    made.withdraw(LEAVING[0])
    made.work()
    yield made
    made.world.db.dispose()


def places(house: House) -> Places:
    return Places.under(house.world.var)


def part(house: House) -> Path:
    with house.world.db.read() as session:
        row = session.query(Part).filter(Part.state == "ready").first()
    assert row is not None
    return house.world.var / "outbox" / row.extract_id / row.name


def test_a_house_where_all_is_done_is_sound(house: House) -> None:
    must_be_sound(house.world.db, places(house))


FILES: dict[str, str] = {
    "vault/ver_1/person.parquet": "orphan: vault/",
    "vault/staging/0123#1": "orphan: vault/staging/",
    "outbox/ext_1/part.parquet": "orphan: outbox/",
    "outbox/staging/0123": "orphan: outbox/staging/",
    "inbox/upl_1": "orphan: inbox/",
    "spill/inbox/upl_1": "orphan: spill/inbox/",
    "spill/job-1/staged/x.parquet": "orphan: spill/job-1",
    "memory/ext_1/1": "orphan: memory/",
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_no_row_names_is_found(house: House, name: str) -> None:
    path = house.world.var / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"rows of people")
    try:
        found = unsound(house.world.db, places(house))
        assert len(found) == 1
        assert found[0].startswith(FILES[name])
    finally:
        path.unlink()


@pytest.mark.parametrize("kind", ["corrupted", "lost"])
@pytest.mark.parametrize("room", ["outbox", "vault"])
def test_bytes_that_are_not_those_of_the_row_are_found(house: House, room: str, kind: str) -> None:
    path = part(house) if room == "outbox" else next((house.world.var / "vault").rglob("*.parquet"))
    held = path.read_bytes()
    try:
        if kind == "lost":
            path.unlink()
        else:
            path.write_bytes(bytes([held[0] ^ 1]) + held[1:])
        assert [one.split("/")[0] for one in unsound(house.world.db, places(house))] == [f"{kind}: {room}"]
    finally:
        path.write_bytes(held)


def _job(session: Session) -> None:
    enqueue(session, "dry_run", subject="x", at=NOW)


def _set(model: type, **values: object) -> Callable[[Session], object]:
    return lambda session: session.execute(update(model).values(**values))


ROWS: dict[str, tuple[Callable[[Session], object], str]] = {
    "a job that waits": (_job, "undone: the job dry_run"),
    "a job that runs for ever": (_set(Job, state="running"), "undone: the job"),
    "a job that was given up": (_set(Job, state="parked"), "undone: the job"),
    "an extract that nobody builds": (_set(Extract, state="building"), "undone: the extract"),
    "an extract that is closed whole": (_set(BlockMark, narrowed=False), "undone: the extract"),
    "a withdrawal that does not end": (_set(Withdrawal, state="blocked"), "undone: the withdrawal"),
    "a part that was never published": (_set(Part, state="staged"), "half published: the part"),
    "a generation without its parts": (_set(Part, state="replaced"), "half published: the manifest"),
    "a failed extract with open parts": (_set(Extract, state="failed"), "half published: "),
    "a line that was altered": (_set(AuditLine, actor="nobody"), "chain: "),
}


@pytest.mark.parametrize("what", sorted(ROWS))
def test_rows_that_say_that_something_is_not_done_are_found(house: House, what: str) -> None:
    plant, words = ROWS[what]
    with house.world.db.read() as session:  # which takes it back
        plant(session)
        session.flush()
        session.expire_all()
        found = unsound_to(session, places(house))
    assert any(one.startswith(words) for one in found)


def test_what_was_acknowledged_and_is_not_there_is_found(house: House) -> None:
    told = Acknowledged([(Extract, "ext_none"), (Extract, house.extract)], {"upl_1": 5}, ["wdr_none"])
    assert unsound(house.world.db, places(house), told) == [
        "lost: extracts ext_none", "lost: bytes of the upload upl_1", "lost: the withdrawal wdr_none",
    ]  # fmt: skip
    journal = places(house).journal
    held = journal.read_text()
    try:
        journal.write_text("")
        assert [one.split(" ")[0:2] for one in unsound(house.world.db, places(house))] == [["lost:", "the"]]
    finally:
        journal.write_text(held)
