"""A wrong value is recalled as a person is: parts closed, the holder told and asked, corrected ones in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.auth.policy import Actor
from app.cohorts.errata import ErrataService
from app.db import Database
from app.errors import Problem
from app.extracts.recalls import Answer, RecallService
from app.extracts.service import ExtractService
from app.extracts.tasks import ExtractTasks
from app.models import Cohort, DatasetVersion, Extract, Job, Permit
from app.permits.following import go_back
from app.requests import following
from tests import world as worlds
from tests.integration.gate.test_follow import QUERIES, next_version, standing, vault
from tests.world import NOW, World

HOLDER = Actor("client:researcher", "cli", "researcher", None, frozenset({"extracts:read", "extracts:write"}))
WRONG = "row 3 of the scales was read in pounds"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    db = Database(f"sqlite:///{tmp_path / 'baekman.db'}")
    yield worlds.make(db, tmp_path, people=160)
    db.dispose()


def institution(world: World) -> Actor:
    with world.db.read() as session:
        held = session.get_one(Cohort, world.cohort_id).institution_id
    return Actor("client:hospital", "hospital", "institution", held, frozenset({"cohorts:write"}))


def steward(world: World) -> Actor:
    return dataclasses.replace(
        institution(world), role="steward", scopes=frozenset({"datasets:publish", "permits:manage"})
    )


def corrected(world: World) -> str:
    """The next version: every weight of the visits is another, and nothing else."""
    made = next_version(world, 0)
    query = f"SELECT * REPLACE (weight + 100 AS weight) FROM ({QUERIES['visit']})"
    worlds.fill_vault(world.db, vault(world), world.var, made, world.keys, {"visit": query}, place=made)
    with world.db.unit_of_work() as session:
        rows = {"in": 0, "out": 0, "changed": 480}
        session.get_one(DatasetVersion, made).report = {
            "changes": {"tables": [{"table": "visit", "rows": rows, "people": rows}]}
        }
    return made


def work(world: World) -> None:
    """Every job that waits, as the worker would."""
    extracts = ExtractTasks(ExtractService(world.db, world.clock, world.gate.outbox), world.gate)
    done: set[str] = set()
    while True:
        with world.db.read() as session:
            waiting = [
                job for job in session.query(Job).order_by(Job.created_at, Job.id) if job.id not in done
            ]
            session.expunge_all()
        if not waiting:
            return
        for job in waiting:
            done.add(job.id)
            context: Any = SimpleNamespace(
                id=job.id, subject=job.subject, arguments=job.arguments, progress=lambda **_: None
            )
            if job.kind == "correct_permit":
                with world.db.unit_of_work() as session:
                    following.correct(session, job.subject, job.arguments["erratum_id"], NOW)
            elif job.kind == "recall_erratum":
                extracts.recall_erratum(context)
                extracts.recall_erratum(context)  # a job may run twice
            elif job.kind == "reissue_extract":
                extracts.reissue(context)


@pytest.mark.again
def test_wrong_values_are_recalled_and_corrected_ones_take_their_place(world: World) -> None:
    extract, other = (
        world.permit(),
        world.permit(
            world.plan.model_copy(
                update={"tables": tuple(t for t in world.plan.tables if t.name != "visit")}
            ),
            holder="client:other",
        ),
    )
    world.release(extract)
    world.release(other)
    weights = dict(world.rows(extract, "visit", "SELECT vid, weight FROM parts"))
    names = {row[0] for row in world.rows(extract, "person", "SELECT pid FROM parts")}
    errata, made = ErrataService(world.db, world.clock), corrected(world)
    body = {"tables": [{"table": "visit", "columns": ["weight"]}], "reason": WRONG}
    declared = errata.declare(institution(world), made, body)
    assert (declared["corrects"], declared["recalls"], declared["holders"]) == (world.version_id, {}, None)
    work(world)
    # The pinned permit goes on too; whoever did not ask for the wrong column keeps what they have.
    assert (standing(world, extract).extract, standing(world, extract).generation) == (made, 2)
    assert (standing(world, other).extract, standing(world, other).generation) == (world.version_id, 1)
    now = dict(world.rows(extract, "visit", "SELECT vid, weight FROM parts"))
    assert set(now) == set(weights)
    assert all(now[one] == weights[one] + 100 for one in now)
    assert {row[0] for row in world.rows(extract, "person", "SELECT pid FROM parts")} == names
    # The holder is told what, why and by when, and answers as after a withdrawal.
    recalls = RecallService(world.db, world.clock)
    (told,) = recalls.since(HOLDER, extract, None, 10)["items"]
    assert (told["why"], told["state"], told["pseudonym"]) == ("erratum", "open", "")
    assert (told["erratum"]["reason"], told["erratum"]["version_id"]) == (WRONG, made)
    assert told["due_at"] > NOW
    gone = {(part["table"], part["state"]) for part in recalls.since(HOLDER, extract, None, 10)["gone"]}
    assert gone == {("visit", "replaced")}
    assert recalls.attest(HOLDER, extract, Answer("destroyed"))["attested"] == 1
    seen = errata.get(steward(world), declared["id"])
    assert seen["recalls"] == {"destroyed": 1}
    assert [(one["extract_id"], one["holder"]) for one in seen["holders"]] == [(extract, "client:researcher")]
    assert [one["id"] for one in errata.of_version(institution(world), made)] == [declared["id"]]


def test_the_wrong_parts_are_closed_before_the_corrected_ones_are_built(world: World) -> None:
    extract = world.permit()
    world.release(extract)
    service = ExtractService(world.db, world.clock, world.gate.outbox)
    parts = {p["name"]: p["table"] for p in service.get(HOLDER, extract)["parts"]}
    made = corrected(world)
    ErrataService(world.db, world.clock).declare(
        institution(world), made, {"tables": [{"table": "visit", "columns": []}], "reason": WRONG}
    )
    with world.db.unit_of_work() as session:
        permit = session.get_one(Permit, session.get_one(Extract, extract).permit_id)
        (erratum,) = {job.arguments["erratum_id"] for job in session.query(Job)}
        following.correct(session, permit.id, erratum, NOW)
    ExtractTasks(service, world.gate).recall_erratum(
        SimpleNamespace(subject=extract, arguments={"erratum_id": erratum})  # type: ignore[arg-type]
    )
    for name, table in parts.items():
        if table != "visit":
            assert service.open_part(HOLDER, extract, name).name == name
            continue
        with pytest.raises(Problem) as closed:
            service.open_part(HOLDER, extract, name)
        assert (closed.value.code, closed.value.extra["reason"]) == ("part_withdrawn", "erratum")
        assert not (world.var / "outbox" / extract / name).exists()
    with world.db.unit_of_work() as session:
        # A version with wrong values is not gone back to, whatever the corrected one meets.
        assert go_back(session, session.get_one(Extract, extract)) is None
        assert [job.kind for job in session.query(Job)].count("reissue_extract") == 1


@pytest.mark.again
def test_an_erratum_says_what_was_wrong_or_is_refused_whole(world: World) -> None:
    errata, made = ErrataService(world.db, world.clock), corrected(world)
    body = {
        "tables": [
            {"table": "visit", "columns": ["wieght"]}, {"table": "nothing", "columns": []},
            {"table": "steps", "columns": ["count"]},
        ],
        "reason": WRONG,
    }  # fmt: skip
    with pytest.raises(Problem) as refused:
        errata.declare(institution(world), made, body)
    assert [one.code for one in refused.value.findings] == [
        "unknown_column",
        "unknown_table",
        "nothing_corrected",
    ]
    with pytest.raises(Problem) as no_correction:
        errata.declare(institution(world), world.version_id, body)
    assert [one.code for one in no_correction.value.findings] == ["not_a_correction"]
