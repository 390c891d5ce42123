"""What is no longer kept leaves the inbox though its store is silent at that moment: at the next sweep, and before
anybody is told that a person's data are destroyed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.errors import Problem
from app.models import Job
from tests.integration.intake.world import COHORT, IntakeWorld, csv_bytes
from tests.integration.test_bad_inputs import PEOPLE, dictionary


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntakeWorld]:
    db = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield IntakeWorld(tmp_path, db, dictionary())
    db.dispose()


def silence(world: IntakeWorld, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """So often the store does not answer whoever removes an object."""
    left, delete = [times], world.inbox._store.delete

    def silent(name: str) -> None:
        if left[0]:
            left[0] -= 1
            raise Problem("store_unavailable", "Silent.")
        delete(name)

    monkeypatch.setattr(world.inbox._store, "delete", silent)


def test_what_was_accepted_is_no_failure_and_goes_at_the_next_sweep(
    world: IntakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(world, monkeypatch, 1)
    upload = world.upload("person", csv_bytes(PEOPLE))
    with world.db.read() as session:  # the check had ended when the store fell silent: it is not done twice
        assert {job.kind: job.state for job in session.scalars(select(Job))}["check_upload"] == "done"
        assert session.scalar(select(func.count()).select_from(Job).where(Job.state == "retried")) == 0
    assert (upload.state, upload.original) == ("accepted", "removed")
    assert world.inbox.exists(upload.id)
    world.uploads.expire_due()
    assert not world.inbox.exists(upload.id)


def test_a_destruction_ends_only_when_it_is_gone(world: IntakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(world, monkeypatch, 2)
    upload = world.upload("person", csv_bytes([*PEOPLE[:3], ["", "", "", ""]]))
    assert world.inbox.exists(upload.id)
    with pytest.raises(Problem, match="Silent"):
        world.uploads.end_for_destruction(COHORT, world.clock(), lambda _session: None)
    world.uploads.end_for_destruction(COHORT, world.clock(), lambda _session: None)
    assert not world.inbox.exists(upload.id)
