"""The gate end to end over a made-up vault, on both databases: what leaves, what does not, and what is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap
from sqlalchemy import select

from app import ledger
from app.audit import project_stream, verify
from app.db import Database
from app.deid import fitting
from app.deid.dummy import dummy
from app.deid.window import Window
from app.engines.duckdb import people, timeline
from app.errors import Problem
from app.extracts.service import ExtractService
from app.gate import recording
from app.ledger import counts, parts
from app.ledger.parts import NewPart, listed, pinned_recoding
from app.models import Extract, Permit, Recoding
from app.schemas.plan import Condition, Plan
from tests import world as worlds
from tests.amounts import first
from tests.world import World

ALL = ("clinical", "lifelog")


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    db = Database(database_url)
    yield worlds.make(db, tmp_path)
    db.dispose()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield worlds.make(db, tmp_path)
    db.dispose()


def test_a_release_holds_those_who_consent_and_no_one_else(world: World) -> None:
    extract = world.permit()
    released = world.release(extract)
    assert released.generation == 1
    assert world.rows(extract, "person", "SELECT count(*), count(DISTINCT pid) FROM parts") == [(380, 380)]
    assert world.rows(extract, "visit", "SELECT count(*) FROM parts") == [(1140,)]
    # Every second of the 380 consents to lifelog data too.
    assert world.rows(extract, "steps", "SELECT count(DISTINCT pid) FROM parts") == [(180,)]
    smallest = world.rows(
        extract, "person", "SELECT min(n) FROM (SELECT count(*) n FROM parts GROUP BY age, sex)"
    )
    assert smallest[0][0] >= 7


def test_the_ledger_and_the_audit_chain_hold_the_release(world: World) -> None:
    extract = world.permit()
    world.release(extract)
    with world.db.read() as session:
        members = ledger.members(session, extract)
        project = session.get_one(Extract, extract).project_id
        lines, broken = verify(session, project_stream(project))
    assert len(members) == 380
    assert set(members) == {k for i, k in enumerate(world.keys) if i % 20}
    assert (lines, broken) == (2, None)


def test_the_same_inputs_give_the_same_bytes(small: World) -> None:
    extract = small.permit()
    first, second = small.release(extract), small.release(extract)
    assert (first.generation, second.generation) == (1, 2)
    assert first.parts == second.parts


@pytest.mark.again
def test_every_part_has_the_schema_of_the_dummy_data(small: World) -> None:
    """Code that an analyst wrote on dummy data meets no other types; parts with and without gaps can be joined."""
    extract = small.permit()
    small.release(extract)
    expected = dummy(small.dictionary, small.plan)
    with small.db.read() as session:
        manifest = session.get_one(Extract, extract).manifest
    assert manifest is not None
    read = {
        t["name"]: [pq.read_schema(small.var / "outbox" / extract / p["name"]) for p in t["parts"]]
        for t in manifest["tables"]
    }
    assert read.keys() == expected.keys()
    assert len(read["visit"]) > 1
    for name, schemas in read.items():
        assert {schema.remove_metadata() for schema in schemas} == {expected[name].schema}, name


def test_a_filter_that_leaves_fewer_than_min_cell_people_is_refused(small: World) -> None:
    few = Condition(table="person", column="age", level=1, at_least=0, at_most=5)
    strict = small.plan.privacy.model_copy(update={"min_cell": 100})
    plan = small.plan.model_copy(update={"filter": (few,), "privacy": strict})
    with pytest.raises(Problem) as refused:
        small.gate.dry_run(plan, worlds.PURPOSE, lambda **_: None)
    assert refused.value.code == "anonymity_unreachable"
    assert [f.detail for f in refused.value.findings] == ["fewer than 100 people are left"]


def test_two_projects_share_no_pseudonym_no_record_id_and_no_order(small: World) -> None:
    one, two = small.permit(), small.permit()
    small.release(one)
    small.release(two)
    for table, column in (("person", "pid"), ("visit", "vid"), ("visit", "pid")):
        a = {row[0] for row in small.rows(one, table, f"SELECT {column} FROM parts")}
        b = {row[0] for row in small.rows(two, table, f"SELECT {column} FROM parts")}
        assert not a & b


@pytest.mark.again
def test_dates_move_by_whole_weeks_and_keep_their_distances(small: World) -> None:
    extract = small.permit()
    small.release(extract)
    gaps = small.rows(extract, "steps", "SELECT DISTINCT max(day) - min(day) FROM parts GROUP BY pid")
    assert gaps == [(1,)]
    weekdays = small.rows(extract, "steps", "SELECT DISTINCT dayofweek(min(day)) FROM parts GROUP BY pid")
    assert weekdays == [(1,)]  # 2024-01-01 was a Monday, whatever the shift
    assert len(small.rows(extract, "steps", "SELECT DISTINCT min(day) FROM parts GROUP BY pid")) > 20


@pytest.mark.again
def test_the_window_of_dates_is_told_and_its_rows_are_counted(small: World) -> None:
    """Of everyone's five visits two lie on the first and the last day of the observation."""
    told = small.gate.dry_run(small.plan, worlds.PURPOSE, lambda **_: None)
    extract = small.permit()
    small.release(extract)
    with small.db.read() as session:
        row = session.get_one(Extract, extract)
        manifest, certificate = row.manifest or {}, row.certificate or {}
    visit = told["tables"]["visit"]
    assert (visit["rows_out"], visit["outside_window"], visit["outside_window_share"]) == (1140, 760, 0.4)
    assert told["windows"]["visit"]["day"] == ["2019-06-02", "2025-12-30"]  # 183 days within both ends
    assert certificate["moved_dates"]["windows"] == told["windows"]
    assert certificate["moved_dates"]["rows_outside_share"] == {"person": 0.0, "visit": 0.4, "steps": 0.5}
    columns = manifest["codebook"]["tables"][1]["columns"]
    assert [c["window"] for c in columns if "window" in c] == [told["windows"]["visit"]["day"]]
    first, last = told["windows"]["visit"]["day"]
    query = f"SELECT count(*) FROM parts WHERE day NOT BETWEEN '{first}' AND '{last}'"
    assert small.rows(extract, "visit", query) == [(0,)]


def test_a_date_that_says_none_leaves_as_none_and_its_row_stays(tmp_path: Path) -> None:
    # All around 1970-01-01, on every second day: it would be a day like any other but for the rule.
    visits = worlds.VISIT_SQL.replace(
        "DATE '2020-01-01' + (hash(key * 31 + n) % 2000)::INTEGER AS day",
        "CASE WHEN n = 0 AND key % 4 < 2 THEN [DATE '1970-01-01', NULL][1 + key % 4] "
        "ELSE DATE '1969-01-01' + 2 * (hash(key * 31 + n) % 365)::INTEGER END AS day",
    ).replace("DATE '2018-12-01' ELSE DATE '2026-07-01'", "DATE '1968-01-01' ELSE DATE '1972-01-01'")
    queries = {"person": worlds.PEOPLE_SQL, "visit": visits, "steps": worlds.STEPS_SQL}
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    world = worlds.make(db, tmp_path, queries=queries)
    extract = world.permit()
    world.release(extract)
    first_day, last_day = world.rows(extract, "visit", "SELECT min(day), max(day) FROM parts")[0]
    assert (first_day.year, last_day.year) == (1968, 1971)
    told = {name: key for key, name in world.pseudonyms(extract).items()}
    found = world.rows(extract, "visit", "SELECT pid FROM parts WHERE day IS NULL")
    asked = [key for place, key in enumerate(world.keys) if place % 20 and key % 4 < 2]
    assert sorted(told[pid] for (pid,) in found) == asked
    db.dispose()


@pytest.mark.again
def test_rows_that_reach_their_person_through_another_row_leave_with_it(tmp_path: Path) -> None:
    """A laboratory row without a date of its own, of a visit outside the window: it would have no person."""
    lab = {"name": "lab", "kind": "event", "participant_via": "visit.vid", "fields": [
        {"name": "vid", "type": "integer", "role": {"kind": "record_id", "of": "visit"}},
        {"name": "value", "type": "integer", "role": {"kind": "attribute"}},
    ]}  # fmt: skip
    planned = {"name": "lab", "columns": [
        {"name": "vid", "transform": "keyed_id", "params": {"space": "record:visit"}},
        {"name": "value", "transform": "keep"},
    ]}  # fmt: skip
    rows = f"SELECT __participant, vid, 5::BIGINT AS value FROM ({worlds.VISIT_SQL})"
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    world = worlds.make(
        db, tmp_path,
        dictionary={**worlds.DICTIONARY, "tables": [*worlds.DICTIONARY["tables"][:2], lab]},
        tables=[*worlds.PLAN_TABLES[:2], planned],
        queries={"person": worlds.PEOPLE_SQL, "visit": worlds.VISIT_SQL, "lab": rows},
    )  # fmt: skip
    extract = world.permit()
    world.release(extract)
    assert world.rows(extract, "lab", "SELECT count(*), count(DISTINCT vid) FROM parts") == [(1140, 1140)]
    db.dispose()


def test_a_reissue_moves_no_edge(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window is pinned with the recoding. Planted: a release memory that forgets it."""
    extract = small.permit()
    first = small.release(extract)
    narrow = {("visit", "day"): Window(date(2022, 1, 1), date(2023, 1, 1)),
              ("steps", "day"): Window(date(2023, 1, 1), date(2025, 1, 1))}  # fmt: skip
    monkeypatch.setattr(timeline, "settle", lambda *_: narrow)
    assert small.release(extract).parts == first.parts
    with small.db.unit_of_work() as session:
        held = session.scalars(select(Recoding)).one()
        held.body = {"recoding": held.body["recoding"]}
    assert small.release(extract).parts != first.parts


@pytest.mark.again
def test_who_leaves_is_not_in_the_next_generation_and_equal_parts_keep_their_name(small: World) -> None:
    extract = small.permit()
    first = small.release(extract)
    gone = small.keys[2]
    assert small.whereabouts(extract, gone, ALL).places == ()  # consent covers every row still
    small.set_consent(gone, "clinical", "withdrawn")
    small.set_consent(gone, "lifelog", "withdrawn")
    found = small.whereabouts(extract, gone, ALL)
    assert ({table for table, _ in found.places}, found.stays) == ({"person", "visit", "steps"}, "")
    second = small.release(extract)
    for table in ("person", "visit", "steps"):
        assert small.rows(extract, table, f"SELECT count(*) FROM parts WHERE pid = '{found.pseudonym}'") == [
            (0,)
        ]
    assert set(first.parts) & set(second.parts)
    replaced = set(first.parts) - set(second.parts)
    with small.db.read() as session:
        states = {p["name"]: p for p in listed(session, extract, ("ready", "replaced"))}
    assert {states[name]["state"] for name in replaced} == {"replaced"}
    assert all(states[name]["successor"] in second.parts for name in replaced)


def test_the_place_told_for_a_person_is_where_their_rows_are(small: World) -> None:
    extract = small.permit()
    small.release(extract)
    gone = small.keys[8]
    small.set_consent(gone, "clinical", "withdrawn")
    found = small.whereabouts(extract, gone, ALL)
    with small.db.read() as session:
        parts = listed(session, extract)
    import duckdb

    for part in parts:
        path = small.var / "outbox" / extract / part["name"]
        query = f"SELECT count(*) FROM '{path}' WHERE pid = '{found.pseudonym}'"
        has = duckdb.execute(query).fetchall()[0][0]
        told = (part["table"], part["position"]) in found.places
        assert told == (has > 0 and part["table"] != "steps")


def test_withdrawing_one_domain_leaves_the_other(small: World) -> None:
    extract = small.permit()
    small.release(extract)
    person = small.keys[2]
    small.set_consent(person, "lifelog", "withdrawn")
    found = small.whereabouts(extract, person, ALL)
    assert ({table for table, _ in found.places}, found.stays) == ({"steps"}, "domains")
    small.release(extract)
    count = f"SELECT count(*) FROM parts WHERE pid = '{found.pseudonym}'"
    assert small.rows(extract, "steps", count) == [(0,)]
    assert small.rows(extract, "person", count) == [(1,)]


def test_a_recoding_is_pinned_and_only_coarsened(small: World) -> None:
    extract = small.permit()
    small.release(extract)
    before = dict(small.rows(extract, "person", "SELECT pid, age || sex FROM parts"))
    label = small.rows(
        extract, "person", "SELECT age, sex FROM parts GROUP BY ALL ORDER BY count(*), age LIMIT 1"
    )[0]
    members = {
        row[0]
        for row in small.rows(
            extract, "person", f"SELECT pid FROM parts WHERE age = '{label[0]}' AND sex = '{label[1]}'"
        )
    }
    leaving = [key for key, name in small.pseudonyms(extract).items() if name in members][4:]
    for key in leaving:
        small.set_consent(key, "clinical", "withdrawn")
        small.set_consent(key, "lifelog", "withdrawn")
    members -= {small.pseudonyms(extract)[key] for key in leaving}
    assert len(members) == 4
    small.release(extract)
    after = dict(small.rows(extract, "person", "SELECT pid, age || sex FROM parts"))
    assert all(
        after[name] != before[name] for name in members
    )  # the class fell below k: its label is coarser now
    smallest = small.rows(
        extract, "person", "SELECT min(n) FROM (SELECT count(*) n FROM parts GROUP BY age, sex)"
    )
    assert smallest[0][0] >= 5
    with small.db.read() as session:
        project = session.get_one(Extract, extract).project_id
        held = pinned_recoding(session, project, small.version_id)
    assert held is not None
    assert held.revision == 2


@pytest.mark.again
def test_a_filter_on_people_keeps_k_and_takes_their_events(small: World) -> None:
    plan = small.plan.model_copy(
        update={"filter": (Condition(table="person", column="age", level=3, values=("[40, 60)",)),)}
    )
    extract = small.permit(Plan.model_validate(plan.model_dump()))
    small.release(extract)
    people = small.rows(extract, "person", "SELECT count(*) FROM parts")[0][0]
    assert 0 < people < 150
    assert small.rows(extract, "visit", "SELECT count(DISTINCT pid) FROM parts") == [(people,)]


@pytest.mark.again
def test_rare_codes_are_judged_by_people(small: World) -> None:
    extract = small.permit()
    small.release(extract)
    found = dict(small.rows(extract, "visit", "SELECT code, count(DISTINCT pid) FROM parts GROUP BY 1"))
    assert all(people >= 5 for code, people in found.items() if code)


@pytest.mark.parametrize("state", first(2, ["suspended", "revoked", "expired", "pending_agreement"]))
def test_a_permit_that_is_not_live_releases_nothing(small: World, state: str) -> None:
    extract = small.permit()
    with small.db.unit_of_work() as session:
        session.get_one(Permit, session.get_one(Extract, extract).permit_id).state = state
    with pytest.raises(Problem) as refused:
        small.release(extract)
    assert refused.value.code in ("permit_not_live", "agreement_required")
    assert not (small.var / "outbox").exists() or not any((small.var / "outbox").rglob("*.parquet"))


def test_a_plan_that_is_not_the_approved_one_releases_nothing(small: World) -> None:
    extract = small.permit()
    with small.db.unit_of_work() as session:
        session.get_one(Permit, session.get_one(Extract, extract).permit_id).plan_hash = "f" * 64
    with pytest.raises(Problem, match="precondition_failed"):
        small.release(extract)


def test_someone_who_leaves_during_the_build_is_not_released(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The withdrawal commits after the bytes are staged and before they are recorded: the build starts again."""
    extract, gone, builds = world.permit(), world.keys[2], []
    original = recording.record_generation

    def late(gate, extract_id, permit, staged):
        builds.append(len(staged.members))
        if len(builds) == 1:
            world.set_consent(gone, "clinical", "withdrawn")
            world.set_consent(gone, "lifelog", "withdrawn")
        return original(gate, extract_id, permit, staged)

    monkeypatch.setattr(recording, "record_generation", late)
    world.release(extract)
    assert builds == [380, 379]
    with world.db.read() as session:
        assert gone not in ledger.members(session, extract)


def test_a_forgetful_fit_is_stopped_by_the_verifier(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: one tuple gets a class of its own. Nothing is recorded, nothing is published."""
    original = fitting.fit

    def forgetful(*args, **kwargs):
        fit = original(*args, **kwargs)
        classes = fit.of_tuple.copy()
        classes[0] = classes.max() + 1
        labels = {**fit.labels, int(classes[0]): ("0", "여")}
        return replace(fit, of_tuple=np.asarray(classes, dtype=np.int32), labels=labels)

    monkeypatch.setattr(fitting, "fit", forgetful)
    # The count after the fit would see it too, so it is blinded: the verifier stands alone.
    monkeypatch.setattr(people, "smallest_group", lambda *_: 99)
    extract = small.permit()
    with pytest.raises(Problem) as refused:
        small.release(extract)
    assert refused.value.code == "verification_failed"
    assert "class_below_k" in {f.code for f in refused.value.findings}
    with small.db.read() as session:
        assert session.get_one(Extract, extract).generation == 0
        assert listed(session, extract, ("staged", "ready")) == []


@pytest.mark.again
def test_spill_is_wiped(small: World) -> None:
    small.release(small.permit())
    assert list((small.var / "spill").iterdir()) == []


def test_the_outcome_must_not_be_worse_than_reviewed(small: World) -> None:
    from app.models import DryRun

    extract = small.permit()
    with small.db.unit_of_work() as session:
        permit = session.get_one(Permit, session.get_one(Extract, extract).permit_id)
        session.get_one(DryRun, permit.dry_run_id).result = {"suppressed_share": 0.0, "loss": 0.0}
    with pytest.raises(Problem, match="outcome_worse_than_reviewed"):
        small.release(extract)


def test_a_byte_check_reads_one_row_and_refuses_at_once(small: World) -> None:
    extract = small.permit()
    released = small.release(extract)
    service = ExtractService(small.db, small.clock, small.gate.outbox)
    service.check_part(extract, released.parts[0])
    with small.db.unit_of_work() as session:
        ledger.mark(session, extract, "wdr_test", reason="participant_withdrew", at=worlds.NOW)
    with pytest.raises(Problem, match="part_checking"):
        service.check_part(extract, released.parts[0])


def test_a_part_that_is_made_again_is_never_unknown(small: World) -> None:
    """A manifest names it: between the record of a build that comes to the same bytes and its publication too. A part
    that nobody was ever told of is."""
    extract = small.permit()
    name = small.release(extract).parts[0]
    service = ExtractService(small.db, small.clock, small.gate.outbox)
    with small.db.unit_of_work() as session:
        of = next(part for part in listed(session, extract) if part["name"] == name)
        again = NewPart(of["table"], of["position"], name, of["sha256"], of["rows"], of["bytes"])
        assert parts.close_damaged(session, extract, name)
        parts.stage(session, extract, 2, [again, replace(again, name=f"{'0' * 64}.parquet", sha256="0" * 64)])
    with pytest.raises(Problem, match="part_checking") as asked:
        service.check_part(extract, name)
    assert asked.value.headers == {"Retry-After": "2"}
    with pytest.raises(Problem, match="not_found"):
        service.check_part(extract, f"{'0' * 64}.parquet")
    with small.db.unit_of_work() as session:
        parts.publish(session, extract, {name})
        (handed_out,) = [part for part in listed(session, extract) if part["table"] == of["table"]]
    assert (handed_out["name"], handed_out["state"], handed_out["reason"]) == (name, "ready", None)
    service.check_part(extract, name)


@pytest.mark.parametrize(("fewer", "refused"), first(2, [(3, True), (11, False), (0, False), (10, True)]))
def test_an_extract_and_a_count_must_not_differ_by_a_few_people(
    small: World, fewer: int, refused: bool
) -> None:
    """min_cell is 11: the holder's count spoke of everyone but `fewer` people."""
    extract = small.permit()
    covered = [k for i, k in enumerate(small.keys) if i % 20]
    with small.db.unit_of_work() as session:
        asked = counts.Asked("client:researcher", None, small.version_id, "q" * 64)
        counts.keep(session, asked, BitMap(covered[fewer:]), {"value": 375}, worlds.NOW)
    if refused:
        with pytest.raises(Problem, match="extract_too_close"):
            small.release(extract)
    else:
        small.release(extract)


@pytest.mark.again
def test_who_left_since_a_count_is_no_difference(small: World) -> None:
    extract = small.permit()
    covered = [k for i, k in enumerate(small.keys) if i % 20]
    with small.db.unit_of_work() as session:
        asked = counts.Asked("client:researcher", None, small.version_id, "q" * 64)
        counts.keep(session, asked, BitMap(covered), {"value": 380}, worlds.NOW)
    for domain in ALL:
        small.set_consent(small.keys[2], domain, "withdrawn")
    small.release(extract)


@pytest.mark.again
def test_another_projects_release_is_laid_on_a_dry_run(small: World) -> None:
    """Two recodings of the same people that cut ages differently: their meet has classes below k, which is told."""
    small.release(small.permit())
    alone = small.gate.dry_run(small.plan, worlds.PURPOSE, lambda **_: None)
    [same] = alone["risk"]["intersections"]
    assert same["both"]["below_k_share"] == 0  # the same plan finds the same classes
    assert not same["needs_signature"]
    other = small.plan.model_copy(
        update={"privacy": small.plan.privacy.model_copy(update={"k": 30, "method": "global"})}
    )
    met = small.gate.dry_run(other, worlds.PURPOSE, lambda **_: None)["risk"]["intersections"][0]
    assert met["both"]["people"] == 380
