"""What a project made of its extract comes back under the consent of the same people, who can still leave it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from app import ledger
from app.auth.policy import ROLE_SCOPES, Actor, Role
from app.cohorts.upload_targets import Wanted
from app.consents.cohorts import behind
from app.crosswalk import covered_now
from app.errors import Problem
from app.models import AuditLine, Cohort, DatasetVersion, Extract, Permit, RecallNotice, Upload
from app.schemas.plan import Plan
from tests.integration.destruction.house import House, make
from tests.integration.intake.world import csv_bytes
from tests.world import PURPOSE

BODY: dict[str, Any] = {
    "name": "Risk scores", "name_ko": "위험 점수", "description": "", "keywords": [], "made_of": [],
    "dictionary": {
        "hierarchies": {"score": {"kind": "interval", "bounds": [0, 100], "widths": [50]}},
        "tables": [
            {
                "name": "scores", "kind": "participant",
                "fields": [
                    {"name": "person", "role": {"kind": "participant_id"}},
                    {"name": "score", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "score"}},
                ],
            },
            {
                "name": "steps_again", "kind": "event", "domain": "lifelog",
                "fields": [
                    {"name": "person", "role": {"kind": "participant_id"}},
                    {"name": "pace", "type": "number", "role": {"kind": "number", "round": 5.0}},
                ],
            },
        ],
    },
}  # fmt: skip


def actor(name: str, role: Role, institution_id: str | None = None) -> Actor:
    return Actor(f"client:{name}", name, role, institution_id, frozenset(map(str, ROLE_SCOPES[role])))


class Rooms:
    """A house with an extract in somebody's hands, and everyone who has a part in what comes back."""

    def __init__(self, folder: Path) -> None:
        self.house: House = make(folder)
        self.world, self.built = self.house.world, self.house.built
        with self.world.db.read() as session:
            institution = session.get_one(Cohort, self.world.cohort_id).institution_id
        self.holder, self.hospital = (
            actor("researcher", "researcher"),
            actor("hospital", "institution", institution),
        )
        self.board, self.other = actor("drb", "steward"), actor("other", "researcher")
        self.count = 0

    def body(self, **more: Any) -> dict[str, Any]:
        self.count += 1
        return {**copy.deepcopy(BODY), "name": f"Risk scores {self.count}", **more}

    def offer(self, **more: Any) -> dict[str, Any]:
        return self.built.house.returns.offer(self.holder, self.house.extract, self.body(**more))

    def put(self, made: dict[str, Any], table: str, rows: list[Any], who: Actor | None = None) -> Upload:
        content = csv_bytes(rows)
        wanted = Wanted("table", len(content), version_id=made["version_id"], table=table)
        upload = self.built.house.uploads.create(who or self.holder, wanted)["id"]
        self.built.house.uploads.append(who or self.holder, upload, 0, [content])
        self.house.work()
        with self.world.db.read() as session:
            return session.get_one(Upload, upload)

    def both(self) -> list[int]:
        """The people of the extract who consent to both domains now."""
        with self.world.db.read() as session:
            of = behind(session, self.world.version_id)
            covered = covered_now(session, of, ["clinical", "lifelog"], PURPOSE, self.built.clock().date())
            held = set(ledger.members(session, self.house.extract))
        return sorted(held & set(covered["clinical"].tolist()) & set(covered["lifelog"].tolist()))

    def published(self) -> tuple[dict[str, Any], list[int]]:
        """Returned, handed in by the hospital, published by a steward; with its people."""
        made, keys = self.offer(), self.both()
        names = [self.house.names[key] for key in keys]
        scores = [["person", "score"], *([name, 7 * i % 100] for i, name in enumerate(names))]
        steps = [["person", "pace"], *([name, 5 * (i % 4)] for i, name in enumerate(names))]
        assert self.put(made, "scores", scores).state == "accepted"
        assert self.put(made, "steps_again", steps).state == "accepted"
        for _ in range(2):
            self.built.house.cohorts.submit(self.hospital, made["version_id"])
            self.house.work()
        self.built.house.cohorts.publish(self.board, made["version_id"])
        return made, keys

    def people(self, version_id: str, table: str) -> list[int]:
        rows = self.house.held()[version_id, table]
        path = self.world.var / "vault" / str(rows[-1].object_name)
        return sorted(set(pq.read_table(path)["__participant"].to_pylist()))

    def extract_of(self, made: dict[str, Any]) -> str:
        """Another project's extract of the returned dataset, of its clinical table alone."""
        columns = [
            {"name": "person", "transform": "pseudonymise"},
            {"name": "score", "transform": "generalise"},
        ]
        plan = Plan.model_validate(
            {"version_id": made["version_id"], "tables": [{"name": "scores", "columns": columns}],
             "privacy": {"k": 5, "reserve": 2}}
        )  # fmt: skip
        extract = self.world.permit(plan, "client:other")
        with self.world.db.unit_of_work() as session:
            row = session.get_one(Extract, extract)
            row.version_id = made["version_id"]
            session.get_one(Permit, row.permit_id).version_id = made["version_id"]
        self.world.release(extract)
        return extract


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rooms]:
    """Shared: of each test somebody else leaves."""
    made = Rooms(tmp_path_factory.mktemp("returns"))
    yield made
    made.world.db.dispose()


def test_people_are_found_back_and_their_data_have_a_lineage(rooms: Rooms) -> None:
    made, keys = rooms.published()
    assert len(keys) > 50
    assert rooms.people(made["version_id"], "scores") == keys
    assert rooms.people(made["version_id"], "steps_again") == keys
    told = rooms.built.house.returns.get(rooms.hospital, made["id"])
    assert told["state"] == "published"
    lineage = told["lineage"]
    assert (lineage["extract_id"], lineage["generation"]) == (rooms.house.extract, 1)
    assert (lineage["domains"], lineage["purpose"]) == (["clinical", "lifelog"], PURPOSE)
    assert lineage["source_version_id"] == rooms.world.version_id
    with rooms.world.db.read() as session:
        lines = session.scalars(select(AuditLine).where(AuditLine.object_id == made["id"])).all()
    assert {line.event for line in lines} == {"return.offered"}
    assert {line.stream.partition(":")[0] for line in lines} == {"institution", "project"}
    for who in (rooms.holder, rooms.hospital, rooms.board):
        assert made["id"] in [one["id"] for one in rooms.built.house.returns.listed(who, None, 50)]
    assert rooms.built.house.returns.listed(rooms.other, None, 50) == []
    # No pseudonym is stored: the vault knows people by their keys.
    path = rooms.world.var / "vault" / str(rooms.house.held()[made["version_id"], "scores"][-1].object_name)
    assert pq.read_schema(path).names == ["__participant", "score"]


def test_a_pseudonym_of_nobody_or_of_who_left_is_refused_by_line(rooms: Rooms) -> None:
    made, keys = rooms.offer(), rooms.both()
    gone = rooms.house.someone()
    key = rooms.house.leaving[gone]
    rooms.house.withdraw(gone, "no_further_use")
    rooms.house.work()
    good = [[rooms.house.names[one], 1] for one in keys if one != key]
    rows = [["person", "score"], *good, ["0" * 16, 1], [rooms.house.names[key], 1], [f"P{key}", 1]]
    upload = rooms.put(made, "scores", rows)
    assert upload.state == "quarantined"
    problems = (upload.report or {})["problems"]
    assert [(p["code"], p["count"]) for p in problems] == [("unknown_people", 3)]
    assert problems[0]["lines"] == [len(good) + 2, len(good) + 3, len(good) + 4]
    assert rooms.house.names[key] not in str(upload.report)
    assert rooms.built.house.returns.get(rooms.holder, made["id"])["files"][0]["problems"] == problems
    # A row of an event table is not left out quietly either.
    assert rooms.put(made, "scores", [["person", "score"], *good]).state == "accepted"
    few = [["person", "pace"], *([name, 5] for name, _score in good), ["f" * 16, 5]]
    assert rooms.put(made, "steps_again", few).state == "quarantined"


def test_who_withdraws_from_a_domain_it_was_made_of_leaves_the_returned_data(rooms: Rooms) -> None:
    made, _keys = rooms.published()
    extract = rooms.extract_of(made)
    source = rooms.house.someone()
    key = rooms.house.leaving[source]
    theirs = rooms.world.pseudonyms(extract)[key]
    with rooms.world.db.read() as session:
        assert key in set(ledger.members(session, extract))
    # The extract holds a clinical table alone; what it was made of were steps as well.
    take = rooms.built.house.withdrawals.take
    take(rooms.house.actor, rooms.world.cohort_id, source, ["lifelog"], "no_further_use")
    rooms.house.work()
    with rooms.world.db.read() as session:
        assert session.get_one(Extract, extract).generation == 2
        notices = session.scalars(select(RecallNotice).where(RecallNotice.extract_id == extract)).all()
    assert [one.pseudonym for one in notices] == [theirs]
    released = [row[0] for row in rooms.world.rows(extract, "scores", "SELECT person FROM parts")]
    assert theirs not in released
    # Clinical data of the first extract go on: only lifelog was withdrawn.
    first = [row[0] for row in rooms.world.rows(rooms.house.extract, "person", "SELECT pid FROM parts")]
    assert rooms.house.names[key] in first


@pytest.mark.again
def test_who_is_destroyed_is_destroyed_in_the_returned_data_too(rooms: Rooms) -> None:
    made, keys = rooms.published()
    source = rooms.house.someone()
    key = rooms.house.leaving[source]
    assert key in keys
    rooms.house.withdraw(source)
    rooms.house.work()
    for table in ("scores", "steps_again"):
        assert rooms.people(made["version_id"], table) == [one for one in keys if one != key]


@pytest.mark.again
def test_only_the_holder_under_a_live_permit_gives_back(rooms: Rooms) -> None:
    returns = rooms.built.house.returns
    with pytest.raises(Problem) as refused:
        returns.offer(rooms.other, rooms.house.extract, rooms.body())
    assert refused.value.code == "not_found"
    with pytest.raises(Problem) as refused:
        returns.offer(rooms.board, rooms.house.extract, rooms.body())
    assert refused.value.code == "forbidden"
    made = rooms.offer()
    rows = [["person", "score"], [rooms.house.names[rooms.both()[0]], 1]]
    for who in (rooms.hospital, rooms.other):  # the institution's own ids would be other people's pseudonyms
        with pytest.raises(Problem):
            rooms.put(made, "scores", rows, who)
    with rooms.world.db.unit_of_work() as session:
        permit = session.get_one(Permit, session.get_one(Extract, rooms.house.extract).permit_id)
        permit.state = "suspended"
    try:
        for work in (rooms.offer, lambda: rooms.put(made, "scores", rows)):
            with pytest.raises(Problem) as refused:
                work()
            assert refused.value.code == "permit_not_live"
    finally:
        with rooms.world.db.unit_of_work() as session:
            session.get_one(Permit, permit.id).state = "active"


@pytest.mark.again
def test_the_dictionary_stays_within_what_was_handed_out(rooms: Rooms) -> None:
    wrong = rooms.body()
    wrong["dictionary"]["tables"][1]["domain"] = "genomic"
    wrong["dictionary"]["tables"][0]["fields"][0]["type"] = "integer"
    with pytest.raises(Problem) as refused:
        rooms.built.house.returns.offer(rooms.holder, rooms.house.extract, wrong)
    assert [(f.code, f.table) for f in refused.value.findings] == [
        ("contradiction", "scores"), ("wrong_domain", "steps_again"),
    ]  # fmt: skip
    for made_of in (["genomic"], ["clinical"]):  # the second table says lifelog
        with pytest.raises(Problem):
            rooms.offer(made_of=made_of)
    clinical = rooms.body(made_of=["clinical"])
    del clinical["dictionary"]["tables"][1]
    made = rooms.built.house.returns.offer(rooms.holder, rooms.house.extract, clinical)
    with rooms.world.db.read() as session:
        assert behind(session, made["version_id"]).inherits == ("clinical",)
        assert behind(session, rooms.world.version_id).inherits == ()
        assert session.get_one(DatasetVersion, made["version_id"]).state == "draft"
