"""Everyone who has left an extract is carried out of it together: one search, one generation, a receipt for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select, update

from app.engines.duckdb import DuckDbEngine
from app.errors import Problem
from app.extracts import narrowing
from app.gate import Gate
from app.jobs import execute
from app.ledger.parts import listed
from app.models import AuditLine, BlockMark, Extract, Job, RecallNotice, Withdrawal
from tests.integration.destruction.house import House, make


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, str]]:
    house = make(tmp_path_factory.mktemp("together"), people=120)
    second = house.world.permit()
    house.world.release(second)
    yield house, second
    house.world.db.dispose()


@pytest.fixture
def house(shared: tuple[House, str]) -> House:
    shared[0].work()
    return shared[0]


@pytest.fixture
def second(shared: tuple[House, str]) -> str:
    """Another extract that holds the same people."""
    return shared[1]


def waiting(house: House, kind: str) -> list[Job]:
    with house.world.db.read() as session:
        query = select(Job).where(Job.kind == kind, Job.state == "waiting")
        return sorted(session.scalars(query), key=lambda job: job.subject)


def run(house: House, kind: str, subject: str | None = None) -> int:
    jobs = [job.id for job in waiting(house, kind) if subject in (None, job.subject)]
    for job in jobs:
        execute(house.built.db, house.built.clock, house.built.tasks, job)
    return len(jobs)


def generations(house: House) -> dict[str, int]:
    with house.world.db.read() as session:
        return {row.id: row.generation for row in session.scalars(select(Extract))}


def marks(house: House, withdrawal: dict[str, Any]) -> dict[str, BlockMark]:
    with house.world.db.read() as session:
        query = select(BlockMark).where(BlockMark.withdrawal_id == withdrawal["id"])
        return {mark.extract_id: mark for mark in session.scalars(query)}


def lines(house: House, event: str, withdrawal: dict[str, Any]) -> list[str]:
    """The extracts of which the chain tells this of a withdrawal."""
    with house.world.db.read() as session:
        told = session.scalars(select(AuditLine).where(AuditLine.event == event).order_by(AuditLine.at))
        return [line.object_id for line in told if line.data.get("withdrawal") == withdrawal["id"]]


def flows(house: House, extract: str) -> bool:
    """Whether any part of an extract is handed out."""
    with house.world.db.read() as session:
        names = [part["name"] for part in listed(session, extract, ("ready", "blocked"))]
    for name in names:
        with suppress(Problem):
            house.built.house.extracts.check_part(extract, name)
            return True
    return False


@pytest.mark.again
def test_all_who_left_are_looked_for_at_once_and_one_generation_is_without_them(
    house: House, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, looked = generations(house), Counter[str]()
    places = DuckDbEngine.places

    def counted(self: Any, source: Any, people: Any, parts: Any) -> Any:
        looked["asked"] += 1
        looked["people"] += len(people)
        return places(self, source, people, parts)

    monkeypatch.setattr(DuckDbEngine, "places", counted)
    leaving = [house.someone() for _ in range(4)]
    taken = [house.withdraw(one, "no_further_use") for one in leaving]
    assert not flows(house, house.extract)
    assert not flows(house, second)
    assert [job.subject for job in waiting(house, "narrow_block")] == sorted([house.extract, second])
    assert run(house, "narrow_block") == 2
    assert looked == {"asked": 2, "people": 8}
    house.work()

    assert {one: house.receipt(of)["state"] for one, of in zip(leaving, taken, strict=True)} == dict.fromkeys(
        leaving, "closed"
    )
    assert generations(house) == {one: number + 1 for one, number in before.items()}
    for extract in (house.extract, second):
        names = house.world.pseudonyms(extract)
        gone = {names[house.leaving[one]] for one in leaving}
        held = {row[0] for row in house.world.rows(extract, "person", "SELECT pid FROM parts")}
        assert not gone & held
        with house.world.db.read() as session:
            told = select(RecallNotice.pseudonym).where(RecallNotice.extract_id == extract)
            assert gone <= set(session.scalars(told))
    for of in taken:
        receipt = house.receipt(of)["receipt"]
        assert receipt["taken_at"] == of["receipt"]["taken_at"]
        assert (receipt["extracts_closed"], receipt["recalls"]) == (2, 2)
        assert sorted(lines(house, "part.blocked", of)) == sorted([house.extract, second])
        assert sorted(lines(house, "recall.settled", of)) == sorted([house.extract, second])
    # Every part that was closed stands in the receipt of one of them.
    with house.world.db.read() as session:
        closed = Counter[str]()
        for line in session.scalars(select(AuditLine).where(AuditLine.event == "part.blocked")):
            closed[line.data["withdrawal"]] += line.data["parts_closed"]
    assert [house.receipt(of)["receipt"]["parts_closed"] for of in taken] == [
        closed[of["id"]] for of in taken
    ]
    assert closed[taken[0]["id"]] > 0


@pytest.mark.again
def test_who_leaves_while_others_are_looked_for_is_carried_by_the_next_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    recall, later = Gate.recall, list[dict[str, Any]]()

    def and_another_leaves(self: Any, extract_id: str, leaving: Any) -> Any:
        if not later:
            later.append(house.withdraw(house.someone(), "no_further_use"))
        return recall(self, extract_id, leaving)

    monkeypatch.setattr(Gate, "recall", and_another_leaves)
    first = house.withdraw(house.someone(), "no_further_use")
    assert run(house, "narrow_block", house.extract) == 1
    assert marks(house, first)[house.extract].narrowed
    assert not marks(house, later[0])[house.extract].narrowed
    assert not flows(house, house.extract)
    assert [job.subject for job in waiting(house, "narrow_block")].count(house.extract) == 1
    house.work()
    assert (house.receipt(first)["state"], house.receipt(later[0])["state"]) == ("closed", "closed")


@pytest.mark.again
def test_a_withdrawal_is_settled_with_its_last_extract_and_not_before(house: House, second: str) -> None:
    taken = house.withdraw(house.someone(), "no_further_use")
    run(house, "narrow_block", house.extract)
    assert waiting(house, "settle_withdrawal") == []
    assert house.receipt(taken)["state"] == "taken"
    run(house, "narrow_block", second)
    run(house, "settle_withdrawal")
    assert house.receipt(taken)["state"] == "blocked"
    run(house, "reissue_extract", second)
    run(house, "settle_withdrawal")
    assert lines(house, "recall.settled", taken) == [second]
    assert house.receipt(taken)["state"] == "blocked"
    run(house, "reissue_extract", house.extract)
    assert run(house, "settle_withdrawal") == 1
    assert house.receipt(taken)["state"] == "closed"
    assert lines(house, "recall.settled", taken) == [second, house.extract]


@pytest.mark.long
def test_who_left_before_a_build_does_not_wait_for_who_left_during_it(
    house: House, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generation is without the first, the next one without the second too: of each it is told once."""
    publish, later = Gate._publish, list[dict[str, Any]]()

    def and_another_leaves(self: Any, *arguments: Any) -> Any:
        if not later:
            later.append(house.withdraw(house.someone(), "no_further_use"))
            run(house, "narrow_block")
        return publish(self, *arguments)

    monkeypatch.setattr(Gate, "_publish", and_another_leaves)
    first = house.withdraw(house.someone(), "no_further_use")
    run(house, "narrow_block")
    run(house, "reissue_extract")  # both extracts; during the first of them somebody leaves
    assert sorted(lines(house, "recall.settled", first)) == sorted([house.extract, second])
    assert len(lines(house, "recall.settled", later[0])) < 2
    run(house, "settle_withdrawal")
    assert (house.receipt(first)["state"], house.receipt(later[0])["state"]) == ("closed", "blocked")
    house.work()
    assert house.receipt(later[0])["state"] == "closed"
    assert sorted(lines(house, "recall.settled", later[0])) == sorted([house.extract, second])


@pytest.mark.long
def test_portions_are_carried_one_by_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one transaction carries is bounded; one that fails between two leaves the rest open, and ordered."""
    monkeypatch.setattr(narrowing, "MOST_AT_ONCE", 2)
    taken = [house.withdraw(house.someone(), "no_further_use") for _ in range(3)]
    recall, portions = Gate.recall, list[int]()

    def dies_at_the_second(self: Any, extract_id: str, leaving: Any) -> Any:
        portions.append(len(leaving))
        if len(portions) == 2:
            raise OSError
        return recall(self, extract_id, leaving)

    monkeypatch.setattr(Gate, "recall", dies_at_the_second)
    run(house, "narrow_block", house.extract)
    assert portions == [2, 1]
    assert [marks(house, of)[house.extract].narrowed for of in taken].count(True) == 2
    assert not flows(house, house.extract)
    house.work()
    assert {house.receipt(of)["state"] for of in taken} == {"closed"}


@pytest.mark.long
def test_a_mark_of_before_is_narrowed_by_its_own_job_which_stands_for_no_other(
    house: House, second: str
) -> None:
    """Marks once did not say what was taken back; the job of each did. Such rows may wait when this version comes."""
    old = house.withdraw(house.someone(), "no_further_use")
    with house.world.db.unit_of_work() as session:
        key = session.get_one(Withdrawal, old["id"]).participant_key
        session.execute(update(BlockMark).where(BlockMark.withdrawal_id == old["id"]).values(domains=None))
        for job in session.scalars(select(Job).where(Job.kind == "narrow_block", Job.state == "waiting")):
            job.arguments = {
                "withdrawal_id": old["id"],
                "participant_key": key,
                "domains": ["clinical", "lifelog"],
            }
    new = house.withdraw(house.someone(), "no_further_use")
    assert [job.subject for job in waiting(house, "narrow_block")] == sorted([house.extract, second] * 2)
    house.work()
    assert (house.receipt(old)["state"], house.receipt(new)["state"]) == ("closed", "closed")
    assert (house.receipt(old)["receipt"]["recalls"], house.receipt(new)["receipt"]["recalls"]) == (2, 2)
