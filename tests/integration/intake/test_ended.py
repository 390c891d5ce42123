"""A check that its sender or the operator ends before its end leaves nothing of what it had half made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from app.cohorts.intake import IntakeService
from app.db import Database
from app.engines.intake.session import Intake
from app.jobs.cancelling import cancel
from tests.amounts import first
from tests.integration.intake.test_flow import furnish
from tests.integration.intake.world import ALICE, IntakeWorld, at_step, csv_bytes, problems
from tests.integration.test_bad_inputs import PEOPLE, VISITS, dictionary

CONSENTS = [["participant_id", "domain", "state"], *([row[0], "all", "granted"] for row in PEOPLE[1:20])]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeWorld]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield IntakeWorld(tmp_path, db, dictionary())
    db.dispose()


@pytest.mark.parametrize("step", first(1, ["writing", "checking", "reading"]))
def test_a_check_that_its_sender_ends_leaves_nothing(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    furnish(world)
    before, objects = world.held()["visit"].sha256, set(world.vault.list())
    at_step(step, monkeypatch, lambda upload_id: world.uploads.terminate(ALICE, upload_id))
    upload = world.upload("visit", csv_bytes(VISITS[:40]))
    assert (upload.state, upload.original, upload.report) == ("expired", "removed", {"reason": "terminated"})
    assert not world.inbox.exists(upload.id)
    assert set(world.vault.list()) == objects
    assert (world.held()["visit"].sha256, world.left_behind()) == (before, [])


@pytest.mark.again
def test_a_check_that_breaks_off_after_it_has_put_its_rows_leaves_none(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(world)
    objects = set(world.vault.list())
    keep = Intake._keep

    def put_and_broken_off(self: Intake, *args: Any) -> None:
        keep(self, *args)
        assert set(world.vault.list()) - objects
        raise duckdb.InterruptException

    monkeypatch.setattr(Intake, "_keep", put_and_broken_off)
    world.upload("visit", csv_bytes(VISITS[:40]))
    assert set(world.vault.list()) == objects
    world.upload("visit", csv_bytes(VISITS))  # the same bytes as those that are in force
    assert set(world.vault.list()) == objects


def test_a_check_that_was_overtaken_leaves_the_rows_of_the_one_that_overtook_it(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(world)
    decide, content = IntakeService._decide, csv_bytes(VISITS[:40])
    overtaken: list[Any] = []

    def decide_late(self: IntakeService, *outcome: Any) -> None:
        if overtaken:  # the second check has put its rows: the first decides now, before it
            decide(self, *overtaken)
            decide(self, *outcome)
            return
        overtaken.extend(outcome)
        world.upload("visit", content)  # the same file once more, for the answer was lost

    monkeypatch.setattr(IntakeService, "_decide", decide_late)
    ended = world.upload("visit", content)
    assert (ended.state, ended.original) == ("expired", "removed")
    assert world.held()["visit"].rows == 39
    assert world.held()["visit"].object_name in world.vault.list()


@pytest.mark.again
@pytest.mark.parametrize("table", ["visit", "consents"])
def test_a_check_that_the_operator_ends_says_so_in_its_report(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    furnish(world)

    def ask(upload_id: str) -> None:
        with world.db.unit_of_work() as session:
            cancel(session, "check_upload", upload_id, world.clock())

    at_step("checking", monkeypatch, ask)
    upload = world.upload(table, csv_bytes(VISITS[:40] if table == "visit" else CONSENTS))
    assert (upload.state, [one["code"] for one in problems(upload)]) == ("quarantined", ["check_cancelled"])
    assert world.failed_jobs() == []


@pytest.mark.again
def test_a_register_that_its_sender_ends_leaves_nothing(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(world)
    before = world.consents()
    at_step("writing", monkeypatch, lambda upload_id: world.uploads.terminate(ALICE, upload_id))
    upload = world.upload("consents", csv_bytes(CONSENTS))
    assert (upload.state, upload.original) == ("expired", "removed")
    assert not world.inbox.exists(upload.id)
    assert world.consents() == before
