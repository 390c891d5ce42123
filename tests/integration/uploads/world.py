"""An institution with a cohort, a dataset and a draft version, and a service over a real database and inbox."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import institution_stream, verify
from app.auth.policy import Actor
from app.cohorts.upload_targets import Wanted
from app.cohorts.uploads import UploadService
from app.db import Database
from app.jobs import enqueue
from app.models import AuditLine, Cohort, Dataset, DatasetVersion, Institution, Job, Upload
from app.settings import Settings
from app.storage.inbox import Inbox
from tests.schema import with_tables

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TABLES = ("person", "visit_occurrence")


def actor(institution: str = "ins_a", role: Any = "institution", *scopes: str) -> Actor:
    held = frozenset(scopes or ("uploads:write", "consents:write"))
    return Actor(f"client:{institution}", institution, role, institution, held)


ALICE = actor()


@dataclass
class World:
    """What a test of uploads acts on; `now` is the clock's time."""

    folder: Path
    db: Database
    now: datetime = START
    service: UploadService = field(init=False)

    def __post_init__(self) -> None:
        with_tables(self.db)
        self.settings = Settings(upload_max_bytes=64 * 2**20, upload_put_max_bytes=2**20)
        self.inbox = Inbox.open((self.folder / "inbox").as_uri(), self.folder / "spill")
        self.service = UploadService(
            self.db, lambda: self.now, self.settings, self.inbox, on_complete, checkpoint_bytes=64 * 2**10
        )

    def furnish(self) -> World:
        with self.db.unit_of_work() as session:
            for name in ("ins_a", "ins_b"):
                session.add(Institution(id=name, name=name, created_at=START))
            session.flush()
            for name in ("a", "b"):
                session.add(
                    Cohort(
                        id=f"coh_{name}", institution_id=f"ins_{name}", name="c", consent_form={}, duo=[],
                        identity_key_wrapped=b"", created_at=START,
                    )
                )  # fmt: skip
                session.flush()
                session.add(
                    Dataset(
                        id=f"dst_{name}", cohort_id=f"coh_{name}", name="d", keywords=[], created_at=START
                    )
                )
                session.flush()
                session.add(
                    DatasetVersion(
                        id=f"ver_{name}", dataset_id=f"dst_{name}", number=1, state="draft",
                        dictionary={"tables": [{"name": name} for name in TABLES]}, dictionary_digest=None,
                        report=None, created_at=START, published_at=None,
                    )
                )  # fmt: skip
                session.flush()
        return self

    def pass_days(self, days: float) -> None:
        self.now += timedelta(days=days)

    def begin(self, length: int, table: str = "person", **other: Any) -> str:
        wanted = replace(Wanted("table", length, version_id="ver_a", table=table), **other)
        return str(self.service.create(ALICE, wanted)["id"])

    def row(self, upload_id: str) -> Upload:
        with self.db.read() as session:
            upload = session.get_one(Upload, upload_id)
            session.expunge(upload)
            return upload

    def change(self, upload_id: str, **values: Any) -> None:
        with self.db.unit_of_work() as session:
            upload = session.get_one(Upload, upload_id)
            for name, value in values.items():
                setattr(upload, name, value)

    def change_version(self, **values: Any) -> None:
        with self.db.unit_of_work() as session:
            version = session.get_one(DatasetVersion, "ver_a")
            for name, value in values.items():
                setattr(version, name, value)

    def content(self, upload_id: str) -> bytes:
        return self.inbox.local_path(upload_id, self.folder).read_bytes()

    def events(self, upload_id: str) -> list[str]:
        with self.db.read() as session:
            lines = select(AuditLine.event).where(AuditLine.object_id == upload_id)
            assert verify(session, institution_stream("ins_a"))[1] is None
            return list(session.scalars(lines.order_by(AuditLine.number)))

    def jobs(self) -> list[str]:
        with self.db.read() as session:
            return list(session.scalars(select(Job.subject).order_by(Job.id)))


def on_complete(session: Session, upload: Upload) -> None:
    enqueue(session, "check_upload", subject=upload.id, at=START)
