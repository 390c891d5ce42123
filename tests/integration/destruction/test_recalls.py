"""Holders are told what to delete, by when to say that they did, and what happens where they say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import select

from app.auth.policy import Actor
from app.errors import Problem
from app.extracts.recalls import Answer, RecallService
from app.models import AuditLine, Extract, Permit
from app.schemas.api_extracts import Recalls, RecallView
from tests.integration.destruction.house import House, make

HOLDER = Actor("client:researcher", "researcher", "researcher", None, frozenset())
STRANGER = Actor("client:other", "other", "researcher", None, frozenset())
STEWARD = Actor("client:steward", "steward", "steward", None, frozenset())
FOREIGN = Actor("client:foreign", "foreign", "steward", "ins_another", frozenset())


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = make(tmp_path_factory.mktemp("recalls"), people=120)
    yield made
    made.world.db.dispose()


def recalls_of(house: House, days: int = 0) -> RecallService:
    """The service some days later."""
    held = house.built.house.recalls
    return RecallService(held.db, lambda: held.clock() + timedelta(days=days), held.days, held.grace)


def leave(house: House, kind: str = "no_further_use") -> str:
    """Somebody leaves; their pseudonym."""
    one = house.someone()
    house.withdraw(one, kind)
    house.work()
    return house.names[house.leaving[one]]


def state_of_permit(house: House) -> str:
    with house.world.db.read() as session:
        return session.get_one(Permit, session.get_one(Extract, house.extract).permit_id).state


def events(house: House) -> list[str]:
    with house.world.db.read() as session:
        return list(session.scalars(select(AuditLine.event).order_by(AuditLine.at, AuditLine.number)))


@pytest.mark.again
def test_news_since_a_cursor_with_the_parts_that_take_the_old_ones_places(
    house: House, tmp_path: Path
) -> None:
    recalls = house.built.house.recalls
    before = recalls.since(HOLDER, house.extract, None, 50)
    held = [house.world.gate.outbox.size(f"{house.extract}/{p['name']}") for p in before["parts"]]
    assert held == [p["bytes"] for p in before["parts"]]
    person = [p["name"] for p in before["parts"] if p["table"] == "person"]
    (tmp_path / "mine").mkdir()  # what the holder has downloaded
    for name in person:
        (tmp_path / "mine" / name).write_bytes(
            (house.world.var / "outbox" / house.extract / name).read_bytes()
        )
    first, second = leave(house), leave(house)
    after = recalls.since(HOLDER, house.extract, before["cursor"], 1)
    assert [n["pseudonym"] for n in after["items"]] == [first]
    rest = recalls.since(HOLDER, house.extract, after["next_cursor"], 50)
    assert ([n["pseudonym"] for n in rest["items"]], rest["next_cursor"]) == ([second], None)
    assert rest["columns"] == [{"table": t, "column": "pid"} for t in ("person", "visit", "steps")]
    assert rest["generation"] > before["generation"]
    assert {p["name"] for p in rest["parts"]}.isdisjoint(p["name"] for p in rest["gone"])
    Recalls.model_validate(rest)
    with pytest.raises(Problem, match="not_found"):
        recalls.since(STRANGER, house.extract, None, 50)
    # What docs say: the file anti-joined with what was downloaded is what the new generation holds.
    file = tmp_path / "recalls.csv"
    file.write_text("\n".join(["pseudonym", *recalls.pseudonyms(HOLDER, house.extract, before["cursor"])]))
    left = duckdb.execute(
        f"SELECT count(*) FROM read_parquet('{tmp_path}/mine/*.parquet') t"
        f" ANTI JOIN read_csv('{file}', header = true, all_varchar = true) r ON t.pid = r.pseudonym"
    ).fetchall()
    assert left == house.world.rows(house.extract, "person", "SELECT count(*) FROM parts")


def test_an_attestation_says_enough_or_is_refused_whole(house: House) -> None:
    leave(house)
    recalls, today = house.built.house.recalls, house.built.clock().date()
    for said in (
        Answer("burned"), Answer("retained"), Answer("retained", "  "), Answer("frozen"), Answer("frozen", until=today),
        Answer("destroyed", until=today + timedelta(days=1)), Answer("destroyed", ids=("rcl_" + "0" * 26,)),
    ):  # fmt: skip
        with pytest.raises(Problem, match="invalid_request"):
            recalls.attest(HOLDER, house.extract, said)
    with pytest.raises(Problem, match="not_found"):
        recalls.attest(STRANGER, house.extract, Answer("destroyed"))
    done = recalls.attest(HOLDER, house.extract, Answer("retained", "Bioethics Act, record of 3 years"))
    assert done["attested"] >= 1
    assert {n["state"] for n in done["recalls"]} == {"retained"}
    assert recalls.attest(HOLDER, house.extract, Answer("destroyed"))["attested"] == 0  # none is open
    one = done["recalls"][0]["id"]
    again = recalls.attest(HOLDER, house.extract, Answer("destroyed", ids=(one,)))
    assert [n["state"] for n in again["recalls"] if n["id"] == one] == ["destroyed"]
    with pytest.raises(Problem, match="conflict"):
        recalls.attest(HOLDER, house.extract, Answer("retained", "no", ids=(one,)))
    for notice in again["recalls"]:
        RecallView.model_validate(notice)


def test_the_pseudonym_of_a_destroyed_person_goes_with_the_attestation(house: House) -> None:
    gone, stays = leave(house, "destroy"), leave(house)
    told = house.built.house.recalls.since(HOLDER, house.extract, None, 200)["items"]
    assert {gone, stays} <= {n["pseudonym"] for n in told}  # until then the holder needs it
    house.built.house.recalls.attest(HOLDER, house.extract, Answer("destroyed"))
    told = house.built.house.recalls.since(HOLDER, house.extract, None, 200)["items"]
    assert gone not in {n["pseudonym"] for n in told}
    assert stays in {n["pseudonym"] for n in told}
    assert "" not in house.built.house.recalls.pseudonyms(HOLDER, house.extract, None)


def test_what_is_not_answered_is_told_and_at_last_suspends_the_permit(house: House) -> None:
    pseudonym = leave(house)
    recalls = house.built.house.recalls
    assert recalls.open_of(FOREIGN, None, 50) == []
    (open_,) = recalls.open_of(STEWARD, None, 50)
    assert (open_["id"], open_["open"], open_["overdue"]) == (house.extract, 1, 0)
    assert pseudonym not in str(open_)
    assert recalls_of(house, recalls.days - 1).chase() == 0
    assert recalls_of(house, recalls.days + 1).chase() == 1
    assert recalls_of(house, recalls.days + 2).chase() == 0  # told once
    assert recalls.open_of(STEWARD, None, 50)[0]["overdue"] == 1
    house.work()
    assert state_of_permit(house) == "active"
    recalls_of(house, recalls.days + recalls.grace + 1).chase()
    house.work()
    assert state_of_permit(house) == "suspended"
    assert {"permit.suspended", "recall.overdue"} <= set(events(house))
    recalls.attest(HOLDER, house.extract, Answer("destroyed"))  # also under a suspended permit
    assert recalls.open_of(STEWARD, None, 50) == []
    with house.world.db.unit_of_work() as session:
        session.get_one(Permit, session.get_one(Extract, house.extract).permit_id).state = "active"


@pytest.mark.again
def test_a_frozen_one_comes_due_again_at_its_date(house: House) -> None:
    leave(house)
    recalls, today = house.built.house.recalls, house.built.clock().date()
    until = today + timedelta(days=100)
    recalls.attest(HOLDER, house.extract, Answer("frozen", until=until))
    assert recalls_of(house, 99).chase() == 0
    assert recalls.open_of(STEWARD, None, 50) == []
    assert recalls_of(house, 101).chase() == 1
    (open_,) = recalls.open_of(STEWARD, None, 50)
    assert (open_["open"], open_["overdue"]) == (1, 0)
    assert open_["due_at"].date() > until
    assert recalls_of(house, 101 + recalls.days).chase() == 1
    assert "recall.thawed" in events(house)
    recalls.attest(HOLDER, house.extract, Answer("destroyed"))
