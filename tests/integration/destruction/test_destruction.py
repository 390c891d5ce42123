"""Whoever asks for destruction is gone: from every version, table and generation, and nothing leads to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import generate_latest
from sqlalchemy import select
from structlog.testing import capture_logs

from app import ledger
from app.alarms.desk import JobDesk
from app.audit import verify
from app.auth.policy import Actor
from app.consents import register
from app.consents.identities import enrol
from app.deid.pseudonyms import words_of
from app.engines.destruction import DestructionEngine
from app.errors import Problem
from app.gate.remembering import recollect
from app.jobs import Rules, enqueue, execute
from app.jobs.answers import Once
from app.ledger.parts import listed
from app.models import (
    AuditHead,
    AuditLine,
    Cohort,
    Consent,
    ConsentChange,
    Destruction,
    Extract,
    IdempotentAnswer,
    Job,
    Participant,
    Permit,
    Project,
    RecallNotice,
    Upload,
    VaultTable,
    Withdrawal,
)
from app.schemas.api_extracts import UnsettledView, WithdrawalView
from app.withdrawals.commitments import opens
from tests.integration.destruction.house import House, make

OPENING = "ab" * 32


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Shared: of each test somebody else leaves."""
    made = make(tmp_path_factory.mktemp("destruction"))
    yield made
    made.world.db.dispose()


def test_their_rows_leave_every_version_table_and_generation(house: House) -> None:
    one, another = house.someone(), house.someone()
    key, other = house.leaving[one], house.leaving[another]
    before, kept, theirs = house.held(), {}, 0
    for place, rows in before.items():
        table = pq.read_table(house.world.var / "vault" / str(rows[-1].object_name))
        kept[place] = table.filter([p != key for p in table["__participant"].to_pylist()]).to_pydict()
        assert len(kept[place]["__participant"]) < table.num_rows, place
        theirs += table.num_rows - len(kept[place]["__participant"])
    held = sum(row.removed_by is None for rows in before.values() for row in rows)
    receipt = house.withdraw(one)
    house.work()
    counts = house.receipt(receipt)["receipt"]["destroyed"]
    assert (counts["people"], counts["rows"], counts["objects"]) == (1, theirs, held)
    assert set(house.rows(key).values()) == {0}
    assert any(house.rows(other).values())
    for place, rows in house.held().items():
        newest = rows[-1]
        assert newest.generation == before[place][-1].generation + 1
        assert rows[-2].removed_by == counts["destruction"]
        assert {row.removed_by is None for row in rows[:-1]} == {False}
        assert newest.removed_by is None
        # The rows of all others, in the order in which they were.
        table = pq.read_table(house.world.var / "vault" / str(newest.object_name))
        assert table.to_pydict() == kept[place]
        people = len(set(table["__participant"].to_pylist()))
        assert (newest.rows, newest.people) == (table.num_rows, people)
    named = {row.object_name for rows in house.held().values() for row in rows if row.removed_by is None}
    assert set(house.objects()) == named
    assert list((house.world.var / "spill").glob("job*")) == []


@pytest.mark.again
def test_the_receipt_tells_what_went_and_names_no_one(house: House) -> None:
    one = house.someone()
    taken = house.withdraw(one, opening=OPENING)
    assert taken["state"] == "taken"
    house.work()
    found = house.receipt(taken)
    receipt = found["receipt"]
    assert found["state"] == "closed"
    assert set(receipt) == {
        "extracts_closed", "taken_at", "blocked_at", "parts_closed", "recalls", "destroyed_at", "destroyed",
        "reissued_at",
    }  # fmt: skip
    assert (receipt["extracts_closed"], receipt["recalls"]) == (1, 1)
    assert receipt["parts_closed"] >= 3
    assert opens(found["commitment"], OPENING, house.world.cohort_id, one)
    assert not opens(found["commitment"], OPENING, house.world.cohort_id, house.going[0])
    assert not opens(found["commitment"], "cd" * 32, house.world.cohort_id, one)
    assert house.withdraw(house.someone())["commitment"] != found["commitment"]
    house.work()


def test_nothing_leads_to_them_any_more(house: House) -> None:
    one = house.someone()
    other_one = house.someone()
    key = house.leaving[one]
    pseudonym = house.names[key]
    once = Once("client:hospital", "k1", f"POST /v1/cohorts/{house.world.cohort_id}/withdrawals", "0" * 64)
    other = Once("client:hospital", "k2", f"POST /v1/cohorts/{house.world.cohort_id}/withdrawals", "1" * 64)
    with house.world.db.read() as session:
        was = session.get_one(Participant, key)
    house.withdraw(other_one, "no_further_contact", once=other)
    taken = house.withdraw(one, once=once)
    house.work()
    with pytest.raises(Problem, match="not_found"):
        house.withdraw(one)
    with house.world.db.read() as session:
        now = session.get_one(Participant, key)
        assert now.identity != was.identity
        assert now.random_id != was.random_id
        assert now.return_token != was.return_token
        assert now.destroyed_at is not None
        assert session.scalars(select(Consent).where(Consent.participant_key == key)).all() == []
        for change in session.scalars(select(ConsentChange).where(ConsentChange.participant_key == key)):
            assert (change.purposes, change.valid_until) == ([], None)
        assert session.get_one(Withdrawal, taken["id"]).participant_key is None
        assert {key} & set(session.scalars(select(Withdrawal.participant_key))) == set()
        assert all(row.keys == [] for row in session.scalars(select(Destruction)))
        told = [[job.arguments, job.progress, job.failure] for job in session.scalars(select(Job))]
        named = [job.arguments for job in session.scalars(select(Job))]
        answers = {row.key for row in session.scalars(select(IdempotentAnswer))}
        audit = [line.data for line in session.scalars(select(AuditLine))]
        # Release memory keeps the number, which is nobody's: the extract was once handed out with somebody more.
        assert key in ledger.members(session, house.extract)
    assert answers == {"k2"}
    said = json.dumps([told, audit])
    assert pseudonym not in said
    assert one not in said
    assert str(key) not in [str(v) for arguments in named for v in arguments.values()]


@pytest.mark.again
def test_who_consents_again_is_a_new_participant(house: House) -> None:
    one = house.someone()
    key = house.leaving[one]
    house.withdraw(one)
    house.work()
    with house.world.db.unit_of_work() as session:
        cohort = session.get_one(Cohort, house.world.cohort_id)
        digest = register.hasher_of(house.world.keyring, cohort).digest(one)
        enrol(session, cohort.id, [digest], house.built.clock())
        found = register.find(session, house.world.keyring, cohort, one)
        assert found is not None
        assert found > max(house.world.keys)
        assert found != key


@pytest.mark.again
def test_the_extract_goes_on_without_them_and_its_old_bytes_are_gone(house: House) -> None:
    one = house.someone()
    key = house.leaving[one]
    with house.world.db.read() as session:
        before = {p["name"] for p in listed(session, house.extract, ("ready",))}
        generation = session.get_one(Extract, house.extract).generation
    pseudonym = house.names[key]
    written = {pseudonym, str(words_of(pa.chunked_array([[pseudonym]]))[0])}  # as text or as its 64 bits
    assert written & remembered(house)
    taken = house.withdraw(one)
    house.work()
    assert remembered(house)
    assert not written & remembered(house)
    assert house.world.rows(
        house.extract, "person", f"SELECT count(*) FROM parts WHERE pid = '{pseudonym}'"
    ) == [(0,)]
    with house.world.db.read() as session:
        assert session.get_one(Extract, house.extract).generation == generation + 1
        gone = [
            p for p in listed(session, house.extract, ("replaced",)) if p["name"] in before and p["receipt"]
        ]
    assert gone
    for part in gone:
        assert part["receipt"] == taken["id"]
        assert not house.world.gate.outbox.exists(f"{house.extract}/{part['name']}")
        with pytest.raises(Problem) as refused:
            house.built.house.extracts.check_part(house.extract, part["name"])
        assert refused.value.code == "part_withdrawn"
        assert refused.value.extra["receipt"] == taken["id"]


@pytest.mark.again
def test_under_an_ended_permit_the_closed_bytes_go_all_the_same(tmp_path: Path) -> None:
    house = make(tmp_path, people=120)
    one = house.someone()
    with house.world.db.unit_of_work() as session:
        session.get_one(Permit, session.get_one(Extract, house.extract).permit_id).state = "revoked"
    house.withdraw(one)
    house.work()
    pseudonym = house.names[house.leaving[one]].encode()
    assert all(pseudonym not in path.read_bytes() for path in (house.world.var / "outbox").rglob("*.parquet"))
    with house.world.db.read() as session:
        assert listed(session, house.extract, ("blocked",))
    assert set(house.rows(house.leaving[one]).values()) == {0}
    house.world.db.dispose()


@pytest.mark.again
def test_those_who_wait_go_together(house: House) -> None:
    leaving = [house.someone(), house.someone()]
    for one in leaving:
        house.withdraw(one)
    for kind in ("narrow_block", "settle_withdrawal"):
        run(house, kind)
    house.work()
    with house.world.db.read() as session:
        runs = session.scalars(select(Destruction).order_by(Destruction.id)).all()
        assert (runs[-1].state, len(runs[-1].withdrawals), runs[-1].counts["people"]) == ("destroyed", 2, 2)
    for one in leaving:
        assert set(house.rows(house.leaving[one]).values()) == {0}


@pytest.mark.again
def test_nobody_is_destroyed_before_every_holder_is_told(house: House) -> None:
    """A second withdrawal of the same person, whose extracts are not yet told, holds the destruction up: the pseudonym
    to delete follows from what destruction forgets."""
    one = house.someone()
    house.withdraw(one)
    run(house, "narrow_block")
    later = house.withdraw(one, "no_further_use")
    run(house, "settle_withdrawal")
    assert run(house, "destroy_rows") == 1
    assert any(house.rows(house.leaving[one]).values())
    house.work()
    assert set(house.rows(house.leaving[one]).values()) == {0}
    assert house.receipt(later)["state"] == "closed"
    assert recalls(house).count(house.names[house.leaving[one]]) == 1


def test_what_has_arrived_goes_and_what_is_checked_is_waited_for(house: House) -> None:
    one = house.someone()
    now = house.built.clock()
    ids = {
        "quarantined": ("table", "quarantined", now), "receiving": ("table", "receiving", now - timedelta(minutes=1)),
        "waiting": ("table", "complete", now - timedelta(minutes=1)), "register": ("consents", "receiving", now),
        "later": ("table", "receiving", now + timedelta(hours=1)),
        "checked": ("table", "checking", now - timedelta(minutes=1)),
        "given-up": ("table", "checking", now - timedelta(minutes=1)),
    }  # fmt: skip
    inbox = house.built.house.uploads.inbox
    with house.world.db.unit_of_work() as session:
        for name, (purpose, state, created) in ids.items():
            session.add(
                Upload(
                    id=f"upl_{name}", version_id=house.world.version_id if purpose == "table" else None,
                    cohort_id=house.world.cohort_id, purpose=purpose, table_name="visit", length=4, received=1,
                    state=state, sha256=None, report=None, original="kept", created_by="client:hospital",
                    created_at=created, expires_at=now + timedelta(days=14),
                )
            )  # fmt: skip
            inbox.prepare(f"upl_{name}")
        job = enqueue(session, "check_upload", subject="upl_given-up", at=now)
        session.get_one(Job, job).state = "parked"  # nothing reads it any more
    house.withdraw(one)
    for kind in ("narrow_block", "settle_withdrawal", "destroy_rows"):
        run(house, kind)
    assert any(house.rows(house.leaving[one]).values())  # a check may still bring rows of theirs
    with house.world.db.unit_of_work() as session:
        session.get_one(Upload, "upl_checked").state = "quarantined"
    house.work()
    assert set(house.rows(house.leaving[one]).values()) == {0}
    with house.world.db.read() as session:
        uploads = {row.id.removeprefix("upl_"): row for row in session.scalars(select(Upload))}
    assert {name for name, row in uploads.items() if row.original == "kept"} == {"later"}
    assert [name for name in ids if inbox.exists(f"upl_{name}")] == ["later"]
    assert {uploads[name].state for name in ("receiving", "waiting", "given-up")} == {"expired"}
    assert uploads["receiving"].report == {"reason": "participant_destroyed"}


def test_orphans_are_swept_and_what_is_named_stays(house: House) -> None:
    destruction, named = house.built.destruction, set(house.objects())
    planted = house.world.var / "planted.parquet"
    planted.write_bytes(b"x")
    for name in (f"{house.world.version_id}/person.orphan.parquet", "ver_of_another_database/person.parquet"):
        destruction.engine.vault.put_file(planted, name)
    assert destruction.sweep() == 0  # it may be on its way into the database
    assert destruction.sweep(older_than=None) == 1
    assert set(house.objects()) == named | {"ver_of_another_database/person.parquet"}


@pytest.mark.again
def test_what_others_see_moves_in_batches(house: House) -> None:
    """The catalogue's numbers stay until min_cell people have gone; the institution reads the exact ones."""
    dataset = house.built.house.catalog.search("", None, 10)[0]["id"]

    def shown() -> list[int | None]:
        return [table["people"] for table in house.built.house.catalog.detail(dataset)["tables"]]

    before, exact = shown(), house.held()[house.world.version_id, "person"][-1].people
    one = house.someone()
    house.withdraw(one)
    house.work()
    newest = house.held()[house.world.version_id, "person"][-1]
    assert newest.people == exact - 1
    assert shown() == before
    # The twelfth to go: plant that so many have gone since the number was last moved.
    with house.world.db.unit_of_work() as session:
        row = session.get_one(VaultTable, (newest.version_id, "person", newest.generation))
        row.people_shown = row.people + 11
    house.withdraw(house.someone())
    house.work()
    assert house.held()[house.world.version_id, "person"][-1].people_shown is None


@pytest.mark.again
def test_stewards_see_what_is_on_its_way_and_what_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    steward = Actor("client:steward", "steward", "steward", None, frozenset())
    foreign = Actor("client:foreign", "foreign", "steward", "ins_another", frozenset())
    watch, discard = house.built.house.watch, DestructionEngine.discard
    assert watch.unsettled(steward, None, 10) == []
    taken = house.withdraw(house.someone())
    for kind in ("narrow_block", "settle_withdrawal", "reissue_extract"):
        run(house, kind)

    def fails(*_args: object) -> None:
        raise OSError

    monkeypatch.setattr(DestructionEngine, "discard", fails)
    with capture_logs():
        run(house, "destroy_rows")
    (shown,) = watch.unsettled(steward, None, 10)
    assert (shown["id"], shown["state"], shown["tries"], shown["failure"]) == (
        taken["id"], "destroying", 2, "internal",
    )  # fmt: skip
    UnsettledView.model_validate(shown)
    assert (shown["held_up"], house.receipt(taken)["held_up"]) == (None, None)
    with capture_logs():
        run(house, "destroy_rows", Rules(most_tries=2))
    (shown,) = watch.unsettled(steward, None, 10)
    assert shown["held_up"] == house.receipt(taken)["held_up"]
    assert (shown["held_up"]["code"], shown["held_up"]["reason"]) == ("job_parked", "internal")
    WithdrawalView.model_validate(house.receipt(taken))
    JobDesk(house.world.db, house.built.clock).release(shown["held_up"]["job"])
    assert watch.unsettled(foreign, None, 10) == []
    assert watch.observe() == 1
    assert 'baekman_withdrawals_open{state="destroying"} 1.0' in generate_latest().decode()
    monkeypatch.setattr(DestructionEngine, "discard", discard)
    house.work()
    assert watch.unsettled(steward, None, 10) == []
    assert watch.observe() == 0


@pytest.mark.again
def test_every_chain_holds_afterwards(house: House) -> None:
    one = house.someone()
    house.withdraw(one)
    house.work()
    with house.world.db.read() as session:
        for stream in session.scalars(select(AuditHead.stream)):
            assert verify(session, stream)[1] is None
        events = [
            line.event for line in session.scalars(select(AuditLine).order_by(AuditLine.at, AuditLine.number))
        ]
    assert {"withdrawal.taken", "part.blocked", "destruction.begun", "withdrawal.destroyed", "recall.settled",
            "withdrawal.closed"} <= set(events)  # fmt: skip


def test_only_all_domains_can_be_destroyed(house: House) -> None:
    one = house.someone()
    with pytest.raises(Problem, match="invalid_request"):
        house.built.house.withdrawals.take(house.actor, house.world.cohort_id, one, ["clinical"], "destroy")


# -- what the tests share


def run(house: House, kind: str, rules: Rules = Rules()) -> int:  # noqa: B008 - it is frozen
    """Run the waiting jobs of one kind, and none that they order."""
    with house.world.db.read() as session:
        ids = list(
            session.scalars(select(Job.id).where(Job.kind == kind, Job.state == "waiting").order_by(Job.id))
        )
    for one in ids:
        execute(house.built.db, house.built.clock, house.built.tasks, one, rules)
    return len(ids)


def remembered(house: House) -> set[str]:
    """Every text in what the last build of the extract left for its next one."""
    gate = house.world.gate
    with house.world.db.read() as session:
        row = session.get_one(Extract, house.extract)
        generation, wrapped = row.generation, session.get_one(Project, row.project_id).key_wrapped or b""
    found = recollect(gate, house.extract, generation, gate.keyring.unwrap(wrapped))
    assert found is not None
    tables = [*found.kept.tables.values(), *found.evidence.tables.values()]
    values = (value for table in tables for column in table.columns for value in column.to_pylist())
    return {value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values}


def recalls(house: House) -> list[str]:
    with house.world.db.read() as session:
        return list(session.scalars(select(RecallNotice.pseudonym)))
