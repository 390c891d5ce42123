"""There is no room left: an upload is refused and keeps what was acknowledged, a job is tried again."""

from __future__ import annotations

import errno
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from structlog.testing import capture_logs

from app.jobs import enqueue, execute
from app.models import Extract, Institution, Job, Upload
from app.storage.store import Store
from tests.acceptance.second_cohort.cohort import second_cohort
from tests.acceptance.service import Service, opened
from tests.faults.sound import Acknowledged, Places, must_be_sound
from tests.integration.destruction.house import make
from tests.little_room import little_room

LITTLE, MUCH, ACKNOWLEDGED = 24 * 2**20, 30 * 2**20, 5 * 2**20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with opened(tmp_path_factory.mktemp("house") / "var") as made:
        made.register_cohort(second_cohort(people=20).dictionary, [{"term": "HMB"}])
        yield made


def is_full(answer: Any) -> bool:
    """Whether an answer says that there is no room, and when to come back."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert "Retry-After" in answer.headers
    return (answer.status_code, answer.json()["code"]) == (507, "storage_full")


def test_an_upload_that_does_not_fit_is_refused_and_leaves_nothing(service: Service) -> None:
    path = f"/v1/versions/{service.ids['version']}/tables/code_book"
    with little_room(LITTLE):
        assert is_full(service.call("hospital", "PUT", path, content=os.urandom(MUCH)))
    must_be_sound(service.db, Places.under(service.settings.var))


def test_a_resumable_one_keeps_what_was_acknowledged_and_goes_on(service: Service) -> None:
    content = second_cohort(people=20).files["code_book"]
    content += b"\n" * (MUCH - len(content))
    said = {"purpose": "table", "version": service.ids["version"], "table": "code_book"}
    tus = {"Tus-Resumable": "1.0.0"}
    meta = ",".join(f"{k} {b64encode(v.encode()).decode()}" for k, v in said.items())
    made = service.call(
        "hospital",
        "POST",
        "/v1/uploads",
        headers={**tus, "Upload-Length": str(MUCH), "Upload-Metadata": meta},
    )
    place = made.headers["Location"]
    bytes_ = {**tus, "Content-Type": "application/offset+octet-stream"}
    first = service.call(
        "hospital", "PATCH", place, headers={**bytes_, "Upload-Offset": "0"}, content=content[:ACKNOWLEDGED]
    )
    assert first.status_code == 204
    with little_room(LITTLE):
        refused = service.call(
            "hospital", "PATCH", place, headers={**bytes_, "Upload-Offset": str(ACKNOWLEDGED)},
            content=content[ACKNOWLEDGED:],
        )  # fmt: skip
        assert is_full(refused)
        assert refused.headers["Tus-Resumable"] == "1.0.0"
    at = int(service.call("hospital", "HEAD", place, headers=tus).headers["Upload-Offset"])
    assert at == ACKNOWLEDGED
    spill = service.settings.var / "spill" / "inbox" / place.rsplit("/", 1)[1]
    assert spill.stat().st_size == at  # what nobody was told of takes no room
    told = Acknowledged(rows=[(Upload, spill.name)], received={spill.name: at})
    done = service.call(
        "hospital", "PATCH", place, headers={**bytes_, "Upload-Offset": str(at)}, content=content[at:]
    )
    assert done.status_code == 204
    service.drain()
    must_be_sound(service.db, Places.under(service.settings.var), told)
    assert service.ok("hospital", "GET", place)["state"] in ("accepted", "rejected", "quarantined")


def test_a_database_without_room_takes_nothing_by_halves(service: Service) -> None:
    engine = service.db.engine

    def fill(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count=1")  # which means: not one page more than there are

    engine.dispose()
    event.listen(engine, "connect", fill)
    answers: list[Any] = []
    with capture_logs() as said:
        while len(answers) < 200 and (not answers or answers[-1].status_code == 201):
            body = {"name": f"{len(answers)} {'long' * 20}"}
            answers.append(service.call("platform", "POST", "/v1/institutions", body))
    event.remove(engine, "connect", fill)
    engine.dispose()
    made = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    assert is_full(answers[-1])
    assert {line["log_level"] for line in said} == {"warning"}
    told = Acknowledged(rows=[(Institution, one) for one in made])
    must_be_sound(service.db, Places.under(service.settings.var), told)
    service.ok("platform", "POST", "/v1/institutions", {"name": "there is room again"})


@pytest.mark.long
def test_a_build_without_room_is_tried_again_and_hands_out_nothing_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make(tmp_path, people=120)
    try:
        extract = house.world.permit()
        with house.world.db.unit_of_work() as session:
            enqueue(session, "build_extract", subject=extract, at=house.built.clock())
        left = [3]

        def full(self: Store, name: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return seal(self, name)

        seal = Store._seal
        monkeypatch.setattr(Store, "_seal", full)
        with house.world.db.read() as session:
            job = session.scalars(select(Job).where(Job.state == "waiting")).one()
        with capture_logs():
            execute(house.world.db, house.built.clock, house.built.tasks, job.id)
        with house.world.db.read() as session:
            states = dict(
                session.execute(select(Job.state, Job.attempt).where(Job.kind == "build_extract")).all()
            )
            row = session.get_one(Extract, extract)
            assert (states, row.state, row.generation) == ({"retried": 1, "waiting": 2}, "building", 0)
            assert (
                session.scalars(select(Job.failure).where(Job.state == "retried")).one()["code"]
                == "storage_full"
            )
        house.work()
        with house.world.db.read() as session:
            assert session.get_one(Extract, extract).state == "ready"
        must_be_sound(house.world.db, Places.under(tmp_path), Acknowledged(rows=[(Extract, extract)]))
    finally:
        house.world.db.dispose()
