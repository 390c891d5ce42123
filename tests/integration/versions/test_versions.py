"""A version made from the last: rows come, go and change; what is the same is one object; nothing breaks unsaid."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from app.cohorts import intake_queries as queries
from app.cohorts import segments
from app.db import Database
from app.engines.destruction import DestructionEngine
from app.errors import Problem
from app.storage.held import objects_of
from tests.amounts import first
from tests.integration.intake.world import ALICE, COHORT, at_step, csv_bytes, problems
from tests.integration.test_bad_inputs import PEOPLE, VISITS, bills, column
from tests.integration.versions.world import HOLDER, STEWARD, VersionsWorld, document, visits


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first version was published; every test goes on from a copy."""
    folder = tmp_path_factory.mktemp("published")
    db = Database(f"sqlite:///{folder / 'baekman.db'}")
    VersionsWorld(folder, db, document()).furnish()
    db.dispose()
    return folder


@pytest.fixture
def world(published: Path, tmp_path: Path) -> Iterator[VersionsWorld]:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    made = VersionsWorld(tmp_path, db, document())
    yield made
    assert made.left_behind() == []
    assert made.failed_jobs() == []
    db.dispose()


def moved(report: dict[str, Any]) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Table -> (rows, people) of what a report tells of it, those that moved alone."""
    tables = {one["table"]: (one["rows"], one["people"]) for one in report["changes"]["tables"]}
    return {name: found for name, found in tables.items() if any(found[0].values())}


def test_an_append_shares_what_was_there_and_is_told_in_rows_and_people(world: VersionsWorld) -> None:
    first = world.version
    before = world.objects(first, "visit")
    second = world.draft()
    assert {table: world.objects(second, table) for table in ("person", "visit", "bill")} == {
        table: world.objects(first, table) for table in ("person", "visit", "bill")
    }
    upload = world.upload("visit", visits(401, 500), mode="append")
    assert (upload.state, (upload.report or {})["rows"]) == ("accepted", 100)
    held = world.objects(second, "visit")
    assert held[: len(before)] == before
    assert len(held) == len(before) + 1
    row = world.held()["visit"]
    assert (row.rows, row.people) == (500, 200)
    assert world.table("visit").num_rows == 500
    report = world.hand_in()
    assert report["outcome"] == "ready"
    assert moved(report) == {
        "visit": ({"in": 100, "out": 0, "changed": 0}, {"in": 0, "out": 0, "changed": 100})
    }
    assert [(t["table"], t["rows"]) for t in report["tables"]] == [
        ("person", 200),
        ("visit", 500),
        ("bill", 2),
    ]
    world.publish()
    assert (world.state(first), world.state(second)) == ("superseded", "published")
    assert world.objects(first, "visit") == before
    assert set(held) | set(before) <= set(world.vault.list())


@pytest.mark.again
def test_people_come_with_an_append_and_children_find_parents_of_both(world: VersionsWorld) -> None:
    world.draft()
    people = csv_bytes([PEOPLE[0], [201, "1999-01-15", "서울"], [202, "1999-01-15", "서울"]])
    assert world.upload("person", people, mode="append").state == "accepted"
    rows = csv_bytes([VISITS[0], [401, 201, 1.5, "ok"], [402, 1, 1.5, "ok"]])
    assert world.upload("visit", rows, mode="append").state == "accepted"
    world.upload("bill", bills([401, 1], bill_id=[7, 8]), mode="append")
    report = world.hand_in()
    assert (report["outcome"], report["people"]) == ("ready", 202)
    assert moved(report) == {
        "person": ({"in": 2, "out": 0, "changed": 0}, {"in": 2, "out": 0, "changed": 0}),
        "visit": ({"in": 2, "out": 0, "changed": 0}, {"in": 1, "out": 0, "changed": 1}),
        "bill": ({"in": 2, "out": 0, "changed": 0}, {"in": 1, "out": 0, "changed": 1}),
    }


def test_a_person_who_comes_with_several_rows_counts_once(world: VersionsWorld) -> None:
    world.draft()
    assert (
        world.upload("person", csv_bytes([PEOPLE[0], [201, "1999-01-15", "서울"]]), mode="append").state
        == "accepted"
    )
    rows = csv_bytes([VISITS[0], *([400 + n, 201, 1.5, "ok"] for n in (1, 2, 3)), [404, 1, 1.5, "ok"]])
    assert world.upload("visit", rows, mode="append").state == "accepted"
    assert (world.held()["visit"].rows, world.held()["visit"].people) == (404, 201)


@pytest.mark.again
def test_new_rows_are_checked_as_the_first_were(world: VersionsWorld) -> None:
    world.draft()
    before = world.objects(world.version, "visit")
    bad = csv_bytes([VISITS[0], [401, 1, "much", "ok"], [402, 1, 2.5, "900101-1234568"]])
    upload = world.upload("visit", bad, mode="append")
    assert {one["code"] for one in problems(upload)} >= {"wrong_type", "identifier"}
    assert upload.original == "removed"  # it holds what looks like an identifier
    orphan = world.upload("bill", bills([4711], bill_id=[9]), mode="append")
    assert [(one["code"], one["lines"]) for one in problems(orphan)] == [("no_parent", [1])]
    assert world.objects(world.version, "visit") == before


@pytest.mark.again
def test_an_append_that_overlaps_is_refused_by_line(world: VersionsWorld) -> None:
    published = world.version
    before = {name: row.sha256 for name, row in world.held().items()}
    world.draft()
    rows = world.upload("visit", visits(399, 402), mode="append")
    people = world.upload("person", csv_bytes([PEOPLE[0], PEOPLE[7]]), mode="append")
    assert [(o["code"], o["lines"], o["count"]) for o in problems(rows)] == [("overlap", [2, 3], 2)]
    assert [(o["code"], o["lines"]) for o in problems(people)] == [("overlap", [2])]
    assert {name: row.sha256 for name, row in world.held().items()} == before
    world.version = published
    assert {name: row.sha256 for name, row in world.held().items()} == before


@pytest.mark.again
def test_the_same_append_twice_counts_once(world: VersionsWorld) -> None:
    world.draft()
    assert world.upload("visit", visits(401, 410), mode="append").state == "accepted"
    again = world.upload("visit", visits(401, 410), mode="append")
    assert ([one["code"] for one in problems(again)], world.held()["visit"].rows) == (["overlap"], 410)


@pytest.mark.again
def test_two_appends_that_are_sent_at_once_both_count(world: VersionsWorld) -> None:
    world.draft()
    sent = [
        world.send("visit", visits(401, 410), mode="append"),
        world.send("visit", visits(411, 420), mode="append"),
    ]
    world.jobs.drain()
    assert [world.row(one).state for one in sent] == ["accepted", "accepted"]
    assert (world.held()["visit"].rows, len(world.objects(world.version, "visit"))) == (420, 3)


@pytest.mark.parametrize("first_is", first(1, ["ended while it is checked", "ended before", "destroyed"]))
def test_an_append_waits_no_longer_for_one_that_has_ended(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch, first_is: str
) -> None:
    world.draft()
    sent: list[str] = []

    def end(upload_id: str) -> None:
        if sent:
            return
        before = world.row(upload_id).created_at
        sent.extend([upload_id, world.send("visit", visits(411, 420), mode="append")])
        world.check(sent[1])
        assert world.row(sent[1]).state == "complete"  # it waits, and no job is left of it
        if first_is == "destroyed":
            world.uploads.end_for_destruction(COHORT, before, lambda _session: None)
        else:
            world.uploads.terminate(ALICE, upload_id)

    if first_is == "ended while it is checked":
        at_step("writing", monkeypatch, end)
        world.send("visit", visits(401, 410), mode="append")
    else:
        end(world.send("visit", visits(401, 410), mode="append"))
    world.jobs.drain()
    assert [world.row(one).state for one in sent] == ["expired", "accepted"]
    assert (world.held()["visit"].rows, world.hand_in()["outcome"]) == (410, "ready")


@pytest.mark.again
def test_a_partition_holds_its_rows_and_is_there_once(world: VersionsWorld) -> None:
    world.draft()
    part = {"column": "visit_id", "from": "401", "before": "411"}
    outside = world.upload("visit", visits(405, 412), mode="append", partition=part)
    assert [(o["code"], o["lines"]) for o in problems(outside)] == [("outside_partition", [8, 9])]
    assert world.upload("visit", visits(401, 405), mode="append", partition=part).state == "accepted"
    again = world.upload("visit", visits(406, 410), mode="append", partition=part)
    assert [(o["code"], o["count"]) for o in problems(again)] == [("overlap", 5)]
    wrong = {"column": "cost", "from": "much", "before": "more"}
    with pytest.raises(Problem) as refused:
        world.send("visit", visits(406, 410), mode="patch", partition=wrong)
    assert [one.code for one in refused.value.findings] == ["bad_partition", "bad_partition"]


def test_a_patch_replaces_rows_by_record_id_and_nothing_else(world: VersionsWorld) -> None:
    first = world.version
    world.draft()
    assert world.upload("visit", visits(401, 410), mode="append").state == "accepted"
    old = world.objects(world.version, "visit")
    rows = csv_bytes([VISITS[0], [3, 4, 99.5, "ok"], [5, 150, 10.5, "ok"]])
    assert world.upload("visit", rows, mode="patch").state == "accepted"
    new = world.objects(world.version, "visit")
    assert [name in new for name in old] == [False, True]  # no row of the append was touched
    table = world.table("visit").sort_by("visit_id")
    assert (table.num_rows, world.held()["visit"].people) == (410, len(pc.unique(table["__participant"])))
    assert table["cost"].to_pylist()[2] == 99.5
    report = world.hand_in()
    assert moved(report)["visit"] == (
        {"in": 10, "out": 0, "changed": 2},
        {
            "in": 0,
            "out": 0,
            "changed": 11,
        },  # ten of the append, those of rows 3 and 5 among them, and the new one
    )
    (told,) = [one for one in report["tables"] if one["table"] == "visit"]
    assert {one["null_share"] for one in told["columns"]} == {0.0}
    world.publish()
    world.version = first
    assert world.table("visit").sort_by("visit_id")["cost"].to_pylist()[2] == 10.5


def test_rows_that_were_left_out_are_known_after_a_patch_of_all_others(world: VersionsWorld) -> None:
    world.draft()
    stranger = csv_bytes([*VISITS, [401, 999, 10.5, "ok"]])  # a visit of somebody who is not among the people
    assert world.upload("visit", stranger).state == "accepted"
    anew = csv_bytes([VISITS[0], *([*row[:2], 11.5, "ok"] for row in VISITS[1:])])
    assert world.upload("visit", anew, mode="patch").state == "accepted"
    assert (world.held()["visit"].rows, world.held()["visit"].left_out) == (400, 1)
    bill = world.upload("bill", bills([*range(1, 200), 401]))
    assert (bill.state, problems(bill), (bill.report or {})["left_out"]) == ("accepted", [], 1)
    assert world.hand_in()["outcome"] == "ready"


@pytest.mark.again
def test_a_patch_of_a_person_keeps_one_row_a_person(world: VersionsWorld) -> None:
    world.draft()
    assert (
        world.upload("person", csv_bytes([PEOPLE[0], [5, "1950-02-01", "부산"]]), mode="patch").state
        == "accepted"
    )
    report = world.hand_in()
    assert moved(report) == {"person": ({"in": 0, "out": 0, "changed": 1}, {"in": 0, "out": 0, "changed": 1})}
    assert (report["outcome"], report["people"]) == ("ready", 200)


@pytest.mark.again
def test_a_patch_for_unknown_records_tells_all_of_them_and_changes_nothing(world: VersionsWorld) -> None:
    world.draft()
    before = world.objects(world.version, "visit")
    rows = csv_bytes([VISITS[0], [3, 4, 1.0, "ok"], [901, 1, 1.0, "ok"], [902, 1, 1.0, "ok"]])
    upload = world.upload("visit", rows, mode="patch")
    assert [(o["code"], o["lines"], o["count"]) for o in problems(upload)] == [("unknown_record", [3, 4], 2)]
    strangers = world.upload("visit", csv_bytes([VISITS[0], [3, 999, 1.0, "ok"]]), mode="patch")
    assert [(o["code"], o["lines"]) for o in problems(strangers)] == [("unknown_people", [2])]
    assert world.objects(world.version, "visit") == before


@pytest.mark.again
def test_a_replaced_table_is_compared_row_by_row(world: VersionsWorld) -> None:
    world.draft()
    rows = [
        VISITS[0],
        *VISITS[11:],
        [2, 3, 11.5, "ok"],
        [500, 200, 1.0, "ok"],
    ]  # 1 to 10 gone, 2 back and changed
    assert world.upload("visit", csv_bytes(rows)).state == "accepted"
    assert world.upload("bill", bills([2, 20])).state == "accepted"
    report = world.hand_in()
    assert moved(report)["visit"] == (
        {"in": 1, "out": 9, "changed": 1},
        {"in": 0, "out": 0, "changed": 11},
    )
    assert report["outcome"] == "ready"


@pytest.mark.again
def test_what_did_not_change_is_not_read_again_and_what_did_is(
    world: VersionsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A parent row that goes leaves children without it: then the old children are looked at.
    world.draft()
    world.upload("visit", csv_bytes([VISITS[0], *VISITS[3:]]))
    report = world.hand_in()
    assert [(o["code"], o["table"]) for o in report["problems"]] == [("no_parent", "bill")]


def test_a_version_is_made_from_the_last_alone(world: VersionsWorld) -> None:
    first = world.version
    rival = world.draft()
    world.version = first
    world.draft()
    world.upload("visit", visits(401, 410), mode="append")
    world.hand_in()
    second = world.publish()
    with pytest.raises(Problem) as refused:
        world.draft(first)
    assert [one.code for one in refused.value.findings] == ["superseded"]
    with pytest.raises(Problem) as unknown:
        world.draft("ver_nobody")
    assert [one.code for one in unknown.value.findings] == ["unknown_version"]
    # One that was begun before is refused when it is handed in, and at the last step.
    world.version = rival
    assert [one["code"] for one in world.hand_in()["problems"]] == ["superseded"]
    assert (world.state(second), world.state(rival)) == ("published", "quarantined")


@pytest.mark.again
def test_two_drafts_of_one_version_end_in_one_successor(world: VersionsWorld) -> None:
    first = world.version
    drafts = []
    for numbers in ((401, 410), (411, 420)):
        world.version = first
        drafts.append(world.draft())
        world.upload("visit", visits(*numbers), mode="append")
        assert world.hand_in()["outcome"] == "ready"
        world.cohorts.submit(HOLDER, world.version)
    world.cohorts.publish(STEWARD, drafts[1])
    with pytest.raises(Problem) as refused:
        world.cohorts.publish(STEWARD, drafts[0])
    assert [one.code for one in refused.value.findings] == ["superseded"]
    assert world.state(drafts[1]) == "published"


def test_a_unit_that_changes_in_silence_is_refused_with_all_that_is_wrong(world: VersionsWorld) -> None:
    published = world.version
    world.draft()
    changed = document()
    changed["tables"][1]["fields"][2]["unit"] = "mmol/L"
    changed["tables"][1]["fields"][3]["labels"] = {}
    world.edit(changed)
    world.upload("visit", visits(401, 410), mode="append")
    report = world.hand_in()
    assert [(o["code"], o["column"]) for o in report["problems"]] == [
        ("breaking_unstated", "cost"), ("unit_changed", "cost"), ("breaking_unstated", "note"),
    ]  # fmt: skip
    assert world.state(published) == "published"
    # Named, and with the rows in the new unit, it is a version that breaks.
    said = [
        {"table": "visit", "column": "cost", "change": "unit", "reason": "the laboratory moved to SI units"},
        {"table": "visit", "column": "note", "change": "labels", "reason": "they were never used"},
    ]
    world.cohorts.state_changes(HOLDER, world.version, said, None)
    world.upload("visit", visits(1, 400))
    report = world.hand_in()
    assert report["outcome"] == "ready"
    kinds = {(one["column"], one["change"]): one["kind"] for one in report["changes"]["dictionary"]}
    assert kinds == {("cost", "unit"): "breaking", ("note", "labels"): "breaking"}


def test_a_table_of_other_types_or_another_kind_is_compared_all_the_same(world: VersionsWorld) -> None:
    world.draft()
    changed = document()
    person, visit, bill = changed["tables"]
    visit["fields"][3] |= {"type": "integer", "labels": {}}
    person["fields"][1]["type"], person["fields"][2]["type"] = "datetime", "boolean"
    del bill["primary_key"], bill["participant_via"]
    bill |= {"kind": "link", "format": "csv", "participant": ["mother", "child"]}
    bill["fields"] = [
        column("mother", "participant_id", "integer"),
        column("child", "participant_id", "integer"),
    ]
    world.edit(changed)
    made = world.cohorts.changes(HOLDER, world.version)["dictionary"]
    said = [{k: one[k] for k in ("table", "column", "change")} | {"reason": "x"} for one in made]
    world.cohorts.state_changes(HOLDER, world.version, said, None)
    sent: dict[str, list[list[Any]]] = {
        "person": [PEOPLE[0], *([*row[:2], "yes"] for row in PEOPLE[1:])],
        "visit": [VISITS[0], *([*row[:3], 7] for row in VISITS[1:])],
        "bill": [["mother", "child"], [1, 2], [1, 3], [4, 5]],
    }
    for table, rows in sent.items():
        assert world.upload(table, csv_bytes(rows)).state == "accepted"
    report = world.hand_in()
    assert (report["outcome"], report["problems"]) == ("ready", [])
    assert {name: rows for name, (rows, _people) in moved(report).items()} == {
        "person": {"in": 0, "out": 0, "changed": 200},
        "visit": {"in": 0, "out": 0, "changed": 400},
        "bill": {"in": 3, "out": 2, "changed": 0},
    }


@pytest.mark.again
def test_a_change_that_is_not_made_cannot_be_named(world: VersionsWorld) -> None:
    world.draft()
    said = [{"table": "visit", "column": "cost", "change": "unit", "reason": "x"}]
    with pytest.raises(Problem) as refused:
        world.cohorts.state_changes(HOLDER, world.version, said, None)
    assert [(one.code, one.pointer) for one in refused.value.findings] == [("unknown_change", "/breaking/0")]


@pytest.mark.again
def test_a_new_column_comes_with_the_rows_that_have_it(world: VersionsWorld) -> None:
    world.draft()
    wider = copy.deepcopy(document())
    wider["tables"][1]["fields"].append({"name": "pain", "type": "integer", "role": {"kind": "attribute"}})
    world.edit(wider)
    # Without rows that have it, the table in the vault is not what the dictionary says.
    assert [one["code"] for one in world.hand_in()["problems"]] == ["dictionary_changed"]
    rows = csv_bytes([[*VISITS[0], "pain"], [401, 1, 2.5, "ok", 7]])
    assert world.upload("visit", rows, mode="append").state == "accepted"
    report = world.hand_in()
    assert report["outcome"] == "ready"
    assert report["changes"]["dictionary"] == [
        {"table": "visit", "column": "pain", "change": "column_added", "kind": "compatible"}
    ]
    assert world.table("visit")["pain"].null_count == 400
    shares = {
        c["name"]: c["null_share"] for t in report["tables"] if t["table"] == "visit" for c in t["columns"]
    }
    assert shares["pain"] is None  # one value alone is a small number
    required = copy.deepcopy(wider)
    required["tables"][1]["fields"][4]["required"] = True
    required["tables"][1]["fields"][4]["name"] = "itch"
    world.cohorts.reopen(HOLDER, world.version)
    world.edit(required)
    again = world.upload("visit", csv_bytes([[*VISITS[0], "itch"], [402, 1, 2.5, "ok", 7]]), mode="append")
    assert [one["code"] for one in problems(again)] == ["dictionary_changed"]


@pytest.mark.again
def test_an_append_needs_rows_to_be_laid_onto(world: VersionsWorld) -> None:
    with pytest.raises(Problem) as closed:
        world.send("visit", visits(401, 410), mode="append")
    assert closed.value.code == "version_not_ready"
    world.version = str(world.cohorts.new_version(HOLDER, "dst_1")["id"])
    world.edit(document())
    with pytest.raises(Problem) as empty:
        world.send("visit", visits(401, 410), mode="append")
    with pytest.raises(Problem) as odd:
        world.send("visit", visits(401, 410), mode="upsert")
    assert [one.code for p in (empty, odd) for one in p.value.findings] == ["table_missing", "unknown_mode"]


@pytest.mark.parametrize("there", first(1, ["one object", "two"]))
def test_nulls_are_counted_anew_of_what_a_destruction_leaves(world: VersionsWorld, there: str) -> None:
    world.draft()
    silent = [[*row[:3], None if row[0] <= 150 else "ok"] for row in VISITS[1:]]
    assert world.upload("visit", csv_bytes([VISITS[0], *silent])).state == "accepted"
    if there == "two":
        assert world.upload("visit", visits(401, 410), mode="append").state == "accepted"
    rows = world.table("visit").to_pylist()
    gone = sorted({row["__participant"] for row in rows if row["note"] is None})
    engine = DestructionEngine(world.vault, world.folder / "work", "256MB", 2)
    with world.db.unit_of_work() as session:
        row = queries.newest_tables(session, world.version)["visit"]
        made = {
            name: engine.without("job_1", name, world.version, "visit", gone)
            for name in objects_of(session, row)
        }
        left = segments.Left({name: one for name, one in made.items() if one}, 50, 350)
        segments.add_next(session, row, left, world.clock(), 11)
    assert world.upload("visit", visits(411, 420), mode="append").state == "accepted"
    (told,) = [one for one in world.hand_in()["tables"] if one["table"] == "visit"]
    assert told["rows"] == world.table("visit").num_rows
    assert {one["null_share"] for one in told["columns"]} == {0.0}


def test_nulls_of_segments_add_up() -> None:
    def one(rows: int, columns: list[Any]) -> segments.Segment:
        return segments.Segment("o", None, rows, 1, 1, "0", 0, columns, None)

    held = [
        one(10, [{"name": "a", "nulls": 1, "missing": {"refused": 1}}]),
        one(
            5, [{"name": "a", "nulls": 2, "missing": {"refused": 1, "unknown": 1}}, {"name": "b", "nulls": 3}]
        ),
    ]
    assert segments.columns_of(held) == [
        {"name": "a", "nulls": 3, "missing": {"refused": 2, "unknown": 1}}, {"name": "b", "nulls": 13},
    ]  # fmt: skip
