"""Everything is lost and put back: PostgreSQL and S3 as one point, while people withdraw; nobody who left is served."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app import backups
from app.audit import verify
from app.backups.place import Place
from app.clock import utc_now
from app.db import Database
from app.jobs.engine import InlineEngine
from app.main import build, prepare
from app.models import AuditLine, Job, Withdrawal
from app.operating.doctor import examine
from app.settings import Settings
from app.storage.store import Store
from tests import doors
from tests.acceptance.service import Service, opened
from tests.postgres import fresh_database
from tests.s3 import Server

PEOPLE = 120
DICTIONARY: dict[str, Any] = {
    "title": {"ko": "외래", "en": "Clinic"},
    "hierarchies": {
        "sex": {"kind": "flat"},
        "born": {"kind": "interval", "bounds": [1900, 2030], "widths": [10, 20, 40]},
    },
    "tables": [
        {
            "name": "people", "kind": "participant",
            "fields": [
                {"name": "patient", "role": {"kind": "participant_id"}},
                {"name": "sex", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "sex"}},
                {"name": "born", "type": "integer", "role": {"kind": "quasi_identifier", "hierarchy": "born"}},
            ],
        },
        {
            "name": "visits", "kind": "event", "primary_key": ["visit"],
            "fields": [
                {"name": "visit", "role": {"kind": "record_id"}},
                {"name": "patient", "role": {"kind": "participant_id"}},
                {"name": "day", "type": "date", "role": {"kind": "date", "mode": "shift"}},
            ],
        },
    ],
}  # fmt: skip


def _csv(head: str, rows: Iterator[str]) -> bytes:
    return "\n".join([head, *rows, ""]).encode()


FILES = {
    "people": _csv("patient,sex,born", (f"P{i:03},{1 + i % 2},{1940 + i % 60}" for i in range(PEOPLE))),
    "visits": _csv(
        "visit,patient,day",
        (
            f"V{i:04},P{i % PEOPLE:03},{2014 + i % 9}-{1 + i % 12:02}-{1 + i % 28:02}"
            for i in range(3 * PEOPLE)
        ),
    ),
}
CONSENTS = _csv("participant_id,domain,state", (f"P{i:03},all,granted" for i in range(PEOPLE)))


class Back(Service):
    """The service as its processes find it after a restore: nothing is made anew but what the journal says."""

    def __init__(self, settings: Settings, before: Service) -> None:
        self.settings, self.now = settings, before.now
        built = build(settings, self.now)
        self.db, self.house, self.built = built.db, built.house, built
        self.app = doors.before(built.house)
        self.http = TestClient(self.app, base_url=settings.public_url, raise_server_exceptions=False)
        self.jobs = InlineEngine(built.db, self.now, built.tasks)
        self._secrets, self.tokens, self.ids = before._secrets, before.tokens, before.ids


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _back_up(settings: Settings) -> backups.Made:
    db = Database(settings.database)
    rooms = backups.open_rooms(settings, "vault", "outbox")
    try:
        return backups.backup(settings, db, rooms, backups.open_place(settings, None), utc_now, keep=2)
    finally:
        db.dispose()


def _restore(settings: Settings, **how: Any) -> backups.Restored:
    db = Database(settings.database)
    rooms = backups.open_rooms(settings, "vault", "outbox", "memory")
    try:
        return backups.restore(settings, db, rooms, backups.open_place(settings, None), **how)
    finally:
        db.dispose()


def _names(store: Store) -> set[str]:
    return set(store.names())


def _withdraw(service: Service, who: str, kind: str) -> str:
    path = f"/v1/cohorts/{service.ids['cohort']}/withdrawals"
    return str(service.ok("hospital", "POST", path, {"participant": who, "kind": kind})["id"])


@pytest.mark.again
def test_all_is_lost_and_put_back(
    tmp_path: Path, postgres_url: str, s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {
        "master_key": _key(),
        "web_key": _key(),
        "journal": tmp_path / "journal",
        "rows_per_part": 60,
        **s3.settings("lost"),
    }
    with fresh_database(postgres_url) as url, opened(tmp_path / "first", url, **told) as service:
        service.register_cohort(DICTIONARY, [{"term": "HMB"}])
        service.upload("consents", CONSENTS)
        for name, content in FILES.items():
            service.upload(name, content)
        service.drain()
        service.publish()
        extract = service.extract(service.approve(service.request({name: [] for name in FILES})))
        before = service.download(extract)
        names = {one: service.pseudonym(one) for one in ("P005", "P006", "P007")}
        assert set(names.values()) <= _people(before)

        first = _back_up(service.settings)
        assert (first.copied, first.missing) == (first.manifest.object_count, [])
        assert first.copied > 5

        sent = service.upload("consents", CONSENTS)  # what arrived and was not checked is in no backup
        # While the second is being made, somebody withdraws and every job ends: parts and tables are removed.
        kept, during = Place.keep, list[str]()

        def keep(*arguments: Any) -> Any:
            if not during:
                during.append(_withdraw(service, "P005", "destroy"))
                service.drain()
            return kept(*arguments)

        monkeypatch.setattr(Place, "keep", keep)
        rooms = backups.open_rooms(service.settings, "vault", "outbox", "memory")
        held = _names(rooms["vault"]) | _names(rooms["outbox"])
        second = _back_up(service.settings)
        monkeypatch.undo()
        assert during
        assert held - _names(rooms["vault"]) - _names(rooms["outbox"])
        assert (second.copied, second.missing) == (0, [])  # what is there is not sent again

        after = _withdraw(service, "P006", "no_further_use")
        service.drain()
        with service.db.read() as session:
            states = {row.id: row.state for row in session.scalars(select(Withdrawal))}
        assert states[during[0]] == "closed"

    for room in ("inbox", "vault", "outbox", "memory"):
        store = backups.open_rooms(service.settings, room)[room]
        for name in _names(store):
            store.delete(name)
    with fresh_database(postgres_url) as url:
        settings = Settings(_env_file=None, var=tmp_path / "second", database_url=url, **told)
        with pytest.raises(backups.BackupError, match="not the one that"):
            _restore(settings.model_copy(update={"master_key": Settings(master_key=_key()).master_key}))
        assert _restore(settings).manifest.id == second.manifest.id
        with pytest.raises(backups.BackupError, match="tables in the database already"):
            _restore(settings)
        back = Back(settings, service)
        try:
            assert set(names.values()) <= _people(back.download(extract))  # so would it be served
            assert back.download(extract) == before
            replayed = prepare(back.built, second.manifest.made_at)
            assert (replayed.taken, replayed.unknown) == (2, 0)
            assert {back.fetch(extract, name).status_code for name in back.parts(extract)} == {
                503
            }  # before any job
            back.drain()
            assert _people(back.download(extract)) == _people(before) - {names["P005"], names["P006"]}
            assert not back.knows("P005")
            assert back.key("P006")
            with back.db.read() as session:
                states = {row.id: row.state for row in session.scalars(select(Withdrawal))}
                assert states == {during[0]: "closed", after: "closed"}
                assert {one.state for one in session.scalars(select(Job))} == {"done"}
                assert [verify(session, one)[1] for one in back.streams()] == [None] * len(back.streams())
                lines = select(AuditLine.data).where(AuditLine.event == "backup.restored")
                assert [line["replayed"] for line in session.scalars(lines)] == [2]
            assert prepare(back.built).taken == 0
            ended = back.ok("hospital", "GET", sent)
            assert (ended["state"], ended["report"]) == ("expired", {"reason": "lost"})
            found = {one.name: one.state for one in examine(settings, back.db, {}, utc_now())}
            assert (found["backup"], found["journal"], found["audit"]) == ("ok", "ok", "ok")
            _withdraw(back, "P007", "no_further_use")  # numbers go on where they were
            back.upload("consents", CONSENTS + b"Q001,all,granted\n")
            back.drain()
            assert back.failed_jobs() == []
            assert back.key("Q001") > PEOPLE
        finally:
            back.close()


def _people(parts: dict[str, list[bytes]]) -> set[str]:
    found: set[str] = set()
    for part in parts["people"]:
        found |= set(
            pq.read_table(io.BytesIO(part), columns=["patient"])["patient"].cast("string").to_pylist()
        )
    return found
