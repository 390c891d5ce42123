"""The check of an uploaded consent register, as a job: it is loaded whole, or told why not, and the original leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.clock import Clock
from app.cohorts.upload_queries import lock_with_target
from app.cohorts.upload_states import step
from app.consents import identities, linkage, register
from app.consents.purposes import may_be_agreed
from app.db import Database
from app.engines.intake import Ages, Hashes, IntakeEngine, RegisterReader
from app.errors import Finding, Problem
from app.jobs import JobContext
from app.keyring import Keyring
from app.models import Cohort, Upload
from app.passing import PASSING
from app.schemas.register import NARROWED, UNLINKED
from app.storage.inbox import Inbox

SYSTEM = "system"
_WITHDRAWN_PER_JOB = 1000
Leave = Callable[[Session, str, str, Sequence[tuple[int, list[str]]], datetime], None]
"""Closes every extract that holds one of those who left, in the caller's transaction: session, cohort, kind of the
withdrawal, (key, domains) each, now."""
_VERBS = {"accepted": "accept", "quarantined": "quarantine", "rejected": "reject"}
# A file with one of these is no register; everything else is wrong data in a file that could be read.
_REJECTS = frozenset(
    {"bad_json", "bad_quotes", "bare_digest", "bomb", "duplicate_column", "empty_file", "identifier", "line_too_long",
     "missing_column", "no_header", "not_csv", "not_parquet", "nul_byte", "truncated", "unexpected_column",
     "unreadable"}
)  # fmt: skip
ENDED = Finding("check_cancelled", "the check was ended; upload the file again")
_DESTROYS = frozenset({"identifier", "bare_digest"})


@dataclass(frozen=True)
class ConsentIntake:
    """Checks registers. `remove_original` is the upload service's and `leave` that of withdrawals, both called in the
    deciding transaction."""

    db: Database
    clock: Clock
    inbox: Inbox
    engine: IntakeEngine
    keyring: Keyring
    remove_original: Callable[[Session, Upload], None]
    leave: Leave

    def check(self, job: JobContext) -> None:
        """Decide one complete upload. Begun again after a crash it ends the same."""
        with self.db.unit_of_work() as session:
            upload, _version, _holder = lock_with_target(session, job.subject)
            if upload.state not in ("complete", "checking"):
                return
            upload.state = step(upload.state, "check")
            hashes = self._hashes(session, upload.cohort_id)
        try:
            self._check(job, hashes)
        except Exception as error:
            ended = job.refusal(error, "").code == "cancelled"
            said = (
                ENDED
                if ended
                else Finding("check_failed", "the check failed on our side; upload the file again")
            )
            with self.db.unit_of_work() as session:
                upload, _version, holder = lock_with_target(session, job.subject)
                if upload.state == "checking":
                    self._decide(session, upload, holder, "quarantined", {}, [said])
                elif (
                    upload.state == "expired"
                ):  # its sender ended it: the original goes with whoever read it last
                    self.remove_original(session, upload)
            raise

    def _check(self, job: JobContext, hashes: Hashes) -> None:
        job.progress(step="checking")
        with self.engine.open(job.id) as intake:
            limits = intake.limits
            ages = Ages(self.clock().date(), limits.adult_age, limits.assent_age)
            reader = RegisterReader(intake.folder, limits, ages, may_be_agreed)
            try:
                # Read and hashed before the transaction, which holds the database's only writer on SQLite.
                reader.read(self.inbox.local_path(job.subject, intake.folder), hashes)
                job.progress(step="writing", rows=reader.rows)
                self._load(job, reader)
            except Problem as problem:
                if problem.code == "cancelled" or problem.code in PASSING:
                    raise
                # The register's transaction was rolled back whole; only the outcome is written.
                with self.db.unit_of_work() as session:
                    upload, _version, holder = lock_with_target(session, job.subject)
                    codes = {finding.code for finding in problem.findings}
                    outcome = "rejected" if codes & _REJECTS else "quarantined"
                    if upload.state == "checking":
                        self._decide(session, upload, holder, outcome, {}, problem.findings)
            finally:
                reader.close()

    def _load(self, job: JobContext, reader: RegisterReader) -> None:
        with self.db.unit_of_work() as session:
            upload, _version, holder = lock_with_target(session, job.subject)
            if upload.state != "checking":
                self.remove_original(session, upload)
                return
            cohort_id = upload.cohort_id
            loaded = register.load(
                session, cohort_id, reader.people(), reader.lines(), rows=reader.rows, at=self.clock(),
                actor=upload.created_by, carry=lambda withdrawn: self._carry(session, cohort_id, withdrawn),
            )  # fmt: skip
            counts = loaded.to_dict()
            if loaded.held_back:
                counts["warnings"] = [reader.placed(finding).to_dict() for finding in loaded.held_back]
            upload, _version, holder = lock_with_target(session, job.subject)
            self._decide(session, upload, holder, "accepted", counts, [])

    def _hashes(self, session: Session, cohort_id: str) -> Hashes:
        people = register.hasher_of(self.keyring, session.get_one(Cohort, cohort_id))
        platform = linkage.hasher_of(session, self.keyring, self.clock())
        return Hashes(
            lambda texts: identities.digests(people, texts),
            lambda texts: pa.array(
                [linkage.hashed(platform, token) for token in texts.to_pylist()],
                pa.binary(linkage.LINKAGE_BYTES),
            ),
        )

    def _carry(self, session: Session, cohort_id: str, withdrawn: register.Withdrawals) -> int:
        """Whoever was covered and has withdrawn leaves every copy: jobs of the withdrawals, in this transaction."""
        count, now = 0, self.clock()
        for kind, people in groupby(withdrawn, key=lambda one: one[0]):
            batch: list[tuple[int, list[str]]] = []
            for _kind, key, domains in people:
                count += kind not in (NARROWED, UNLINKED)
                batch.append((key, domains))
                if len(batch) == _WITHDRAWN_PER_JOB:
                    self.leave(session, cohort_id, kind, batch, now)
                    batch = []
            if batch:
                self.leave(session, cohort_id, kind, batch, now)
        return count

    def _decide(
        self,
        session: Session,
        upload: Upload,
        holder: str,
        outcome: str,
        counts: dict[str, Any],
        findings: list[Finding],
    ) -> None:
        upload.state = step(upload.state, _VERBS[outcome])
        upload.report = {
            "outcome": outcome,
            **counts,
            "problems": [finding.to_dict() for finding in findings],
        }
        if outcome == "accepted" or any(finding.code in _DESTROYS for finding in findings):
            self.remove_original(session, upload)
        told = {name: value for name, value in counts.items() if name != "warnings"}
        record(
            session, stream=institution_stream(holder), event=f"upload.{upload.state}", actor=SYSTEM,
            object_id=upload.id, at=self.clock(), data={**told, "problems": len(findings)},
        )  # fmt: skip
