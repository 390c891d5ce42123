"""The rooms that make a version of a dataset, over one folder: to measure uploads and their checks with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.auth.policy import Actor
from app.cohorts.intake import IntakeService, check_when_complete
from app.cohorts.service import CohortService
from app.cohorts.upload_targets import Wanted
from app.cohorts.uploads import UploadService
from app.cohorts.validation import ValidationService
from app.db import Database
from app.engines.intake import Bounds, IntakeEngine, IntakeLimits
from app.jobs.engine import InlineEngine
from app.keyring import Keyring
from app.models import Base, Cohort, Dataset, Institution, Upload
from app.settings import Settings
from app.storage.inbox import Inbox
from app.storage.vault import Vault

INSTITUTION = Actor(
    "client:h", "h", "institution", "ins_1", frozenset({"cohorts:write", "uploads:write", "consents:write"})
)
STEWARD = Actor("account:s", "portal", "steward", "ins_1", frozenset({"datasets:publish"}))
PID = {"name": "pid", "type": "integer", "role": {"kind": "participant_id"}}
DICTIONARY: dict[str, Any] = {
    "hierarchies": {"block": {"kind": "prefix", "lengths": [1]}},
    "tables": [
        {"name": "person", "kind": "participant", "primary_key": ["pid"], "fields": [
            PID, {"name": "born", "type": "integer", "role": {"kind": "quasi_identifier"}}]},
        {"name": "wear", "kind": "event", "domain": "lifelog", "primary_key": ["rid"], "fields": [
            {"name": "rid", "type": "integer", "role": {"kind": "record_id"}}, PID,
            {"name": "day", "type": "date", "role": {"kind": "date", "mode": "shift"}},
            {"name": "kind", "role": {"kind": "code", "vocabulary": "own", "roll_up": "block"}},
            {"name": "steps", "type": "integer", "role": {"kind": "attribute"}},
            {"name": "pulse", "type": "number", "role": {"kind": "number", "round": 5.0}}]},
    ],
}  # fmt: skip


@dataclass
class Rooms:
    """The rooms that make a version, over one folder."""

    cohorts: CohortService
    uploads: UploadService
    jobs: InlineEngine
    db: Database

    def draft(self, dataset: str, made_from: str | None = None, form: str = "csv") -> str:
        """A draft of a dataset, empty or made from a version; its measurements come as CSV or Parquet."""
        version = str(self.cohorts.new_version(INSTITUTION, dataset, made_from=made_from)["id"])
        if made_from is None:
            person, wear = DICTIONARY["tables"]
            dictionary = {**DICTIONARY, "tables": [person, {**wear, "format": form}]}
            self.cohorts.set_dictionary(INSTITUTION, version, dictionary, None)
        return version

    def send(self, version: str, table: str, path: Path, **laid: Any) -> None:
        """Upload a file and let it be checked."""
        self._arrive(Wanted("table", path.stat().st_size, version_id=version, table=table, **laid), path)

    def register(self, path: Path) -> None:
        """Upload a consent register and let it be loaded."""
        self._arrive(Wanted("consents", path.stat().st_size, cohort_id="coh_1"), path)

    def _arrive(self, wanted: Wanted, path: Path) -> None:
        upload = str(self.uploads.create(INSTITUTION, wanted)["id"])
        with path.open("rb") as file:
            self.uploads.append(INSTITUTION, upload, 0, iter(lambda: file.read(1 << 20), b""))
        self.jobs.drain()
        with self.db.read() as session:
            row = session.get_one(Upload, upload)
            if row.state != "accepted":
                raise SystemExit(f"the upload is {row.state}: {row.report}")

    def check(self, version: str) -> None:
        """Hand a draft to the check of the whole."""
        self.cohorts.submit(INSTITUTION, version)
        self.jobs.drain()
        if (state := self.cohorts.version(INSTITUTION, version)["state"]) != "ready":
            raise SystemExit(f"the version is {state}")


def rooms(folder: Path, database: str = "") -> Rooms:
    """An institution with a cohort and two datasets; on SQLite where no other database is named."""
    moment = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)

    def clock() -> datetime:
        nonlocal moment
        moment += timedelta(seconds=1)
        return moment

    db, settings, keyring = (
        Database(database or f"sqlite:///{folder / 'baekman.db'}"),
        Settings(var=folder),
        Keyring(b"k" * 32),
    )
    Base.metadata.create_all(db.engine)
    with db.unit_of_work() as session:
        session.add(Institution(id="ins_1", name="h", created_at=moment))
        session.flush()
        session.add(Cohort(id="coh_1", institution_id="ins_1", name="c", consent_form={}, duo=[],
                           identity_key_wrapped=keyring.new(), created_at=moment))  # fmt: skip
        session.flush()
        for name in ("year", "alone"):
            session.add(
                Dataset(id=f"ds_{name}", cohort_id="coh_1", name=name, keywords=[], created_at=moment)
            )
    inbox, vault = (
        Inbox.open((folder / "inbox").as_uri(), folder / "spill"),
        Vault.open((folder / "vault").as_uri()),
    )
    bounds = Bounds(settings.expansion_max_ratio, 1 << 40)
    limits = IntakeLimits(settings.engine_memory, settings.engine_threads, bounds, settings.quarantine_share)
    engine = IntakeEngine(vault, folder / "work", limits)
    uploads = UploadService(db, clock, settings, inbox, check_when_complete(clock))
    # Nobody of these registers has withdrawn.
    intake = IntakeService(db, clock, inbox, engine, keyring, uploads.remove_original, lambda *_: None)
    validation = ValidationService(db, clock, settings, engine)
    # What follows a publication is no part of an append.
    tasks = {"check_upload": intake.check_upload, "submit_version": validation.submit_version,
             "index_variables": lambda _job: None}  # fmt: skip
    cohorts = CohortService(db, clock, settings, keyring, lambda *_: None)
    return Rooms(cohorts, uploads, InlineEngine(db, clock, tasks), db)
