"""Uploads: bytes that were acknowledged are on the disk, and a target takes one upload at a time as its next content.

Whoever is begun last and completes wins; what was accepted before stays until the new one is accepted (intake).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.auth import policy, quotas
from app.clock import Clock
from app.cohorts import upload_queries as queries
from app.cohorts.returns import lineage_of
from app.cohorts.upload_states import RECEIVES, TAKES_UPLOADS, UNDECIDED, step
from app.cohorts.upload_targets import Wanted, must_hold_consents_scope, target
from app.db import Database, new_id
from app.errors import Problem, not_found
from app.jobs import held_up
from app.jobs.cancelling import cancel
from app.models import Cohort, Upload
from app.passing import storing
from app.settings import Settings
from app.storage.inbox import Busy, Inbox, Writer

ALGORITHMS = ("sha256", "sha1")  # of Upload-Checksum; tuspy knows sha1 alone
SYSTEM = "system"


class Interrupted(Exception):
    """The sender went away, or sent nothing for too long, before the end of the body."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request must hash to; `algorithm` is one of `ALGORITHMS`."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True)
class UploadService:
    """Create, resume, end and sweep uploads. `on_complete` adds the checking job to the completing transaction."""

    db: Database
    clock: Clock
    settings: Settings
    inbox: Inbox
    on_complete: Callable[[Session, Upload], None]
    checkpoint_bytes: int = 16 * 2**20  # a crash in the middle of a long request costs at most this

    def create(self, actor: policy.Actor, wanted: Wanted) -> dict[str, Any]:
        """A new upload; every problem of what is wanted at once. One of no bytes is complete at once."""
        if wanted.length > self.settings.upload_max_bytes:
            most = self.settings.upload_max_bytes
            raise Problem("payload_too_large", f"An upload has at most {most} bytes.")
        now = self.clock()
        with self.db.unit_of_work() as session:
            cohort = target(session, actor, wanted, now.date())
            quotas.must_fit(session, self.settings, cohort.institution_id, quotas.INSTITUTION, wanted.length)
            upload = Upload(
                id=new_id("upl"), version_id=wanted.version_id or None, cohort_id=cohort.id,
                purpose=wanted.purpose, table_name=wanted.table or None, mode=wanted.mode,
                partition=dict(wanted.partition) if wanted.partition else None, length=wanted.length, received=0,
                state="open", sha256=None, report=None, original="kept", created_by=actor.subject,
                created_at=now, expires_at=now + timedelta(days=self.settings.upload_expiry_days),
            )  # fmt: skip
            session.add(upload)
            session.flush()
            self._record(session, upload, cohort.institution_id, "upload.created", actor.subject)
            # Before the commit: a file without its row is swept, a row without its file would be a broken promise.
            with storing():
                self.inbox.prepare(upload.id)
        return self._complete(upload.id) if wanted.length == 0 else _view(upload)

    def status(self, actor: policy.Actor, upload_id: str) -> dict[str, Any]:
        """The upload as it stands. One that has every byte but lost its process is completed here."""
        upload = self._visible(actor, upload_id)
        if upload.state not in RECEIVES or upload.received < upload.length or self._is_late(upload):
            with self.db.read() as session:
                return _view(upload, held_up(session, upload_id))
        with suppress(Busy, FileNotFoundError), self.inbox.writer(upload_id):
            return self._complete(upload_id)
        return self._reload(upload_id)

    def resumable(self, actor: policy.Actor, upload_id: str) -> dict[str, Any]:
        """Like `status`, but an upload that has ended without an outcome is `upload_gone`."""
        view = self.status(actor, upload_id)
        self._must_live(view["state"], view["report"], view["expires_at"] <= self.clock())
        return view

    def append(
        self,
        actor: policy.Actor,
        upload_id: str,
        offset: int,
        chunks: Iterable[bytes],
        checksum: Checksum | None = None,
    ) -> dict[str, Any]:
        """Write the chunks at the offset, which must be where the upload stands.

        With a checksum all bytes count or none. Without one, what arrived before an `Interrupted` counts.
        """
        self._must_stand_at(self._visible(actor, upload_id), offset)
        with self._only_writer(upload_id) as writer:
            upload = self._visible(actor, upload_id)  # again: another writer may just have ended
            self._must_stand_at(upload, offset)
            writer.cut(offset)
            try:
                with storing():
                    reached = self._receive(writer, upload, chunks, checksum)
            except Problem:
                writer.cut(self._visible(actor, upload_id).received)
                raise
            return self._complete(upload_id) if reached == upload.length else self._reload(upload_id)

    def terminate(self, actor: policy.Actor, upload_id: str) -> None:
        """End an upload that has no outcome, and its check where that was begun; its bytes go at once, or with the job
        that reads them."""
        self._visible(actor, upload_id)
        with self.db.unit_of_work() as session:
            upload, _version, holder = queries.lock_with_target(session, upload_id)
            self._must_live(upload.state, upload.report, late=False)
            self._end(session, upload, holder, "terminate", actor.subject, "terminated")
            cancel(session, "check_upload", upload_id, self.clock())

    def give_up(self, actor: policy.Actor, upload_id: str) -> None:
        """End an upload whose bytes stopped coming; one that has all of them goes on."""
        if self._visible(actor, upload_id).state in RECEIVES:
            self.terminate(actor, upload_id)

    def expire_due(self) -> int:
        """End what has run out of time, do what `sweep_disk` does, remove what the store holds and nobody keeps.

        How many ended."""
        with self.db.read() as session:
            due = queries.due(session, self.clock())
        for upload_id in due:
            self._expire(upload_id)
        self.sweep_disk()
        self._remove_unkept(self.inbox.names())
        self.inbox.sweep(self.clock() - timedelta(days=1))
        return len(due)

    def sweep_disk(self) -> None:
        """On this machine's disk, where no process of another one comes: finish what a dead process left; remove
        bytes of uploads that have ended, wherever that was said, and of those that never had a row."""
        now = self.clock()
        with self.db.read() as session:
            stranded = queries.stranded(session, now)
        for upload_id in stranded:
            with suppress(Busy, FileNotFoundError, Problem), self.inbox.writer(upload_id):
                self._complete(upload_id)
        self._remove_unkept(self.inbox.partial_names())

    def end_for_destruction(self, cohort_id: str, before: datetime, also: Callable[[Session], None]) -> int:
        """Remove what has arrived for a cohort and may hold somebody who is destroyed: originals of every upload that
        was decided, and uploads begun until `before`, which their sender must send again; how many. `also` joins
        each transaction."""
        with self.db.read() as session:
            ids = queries.arrived(session, cohort_id, before)
        for upload_id in ids:
            with self.db.unit_of_work() as session:
                upload, _version, holder = queries.lock_with_target(session, upload_id)
                stopped = upload.purpose == "table" and held_up(session, upload.id) is not None
                if upload.original == "removed" or (upload.state == "checking" and not stopped):
                    continue
                if upload.state in UNDECIDED:
                    self._end(session, upload, holder, "destroy", SYSTEM, "participant_destroyed")
                else:
                    self.remove_original(session, upload)
                also(session)
        self._remove_unkept(
            self.inbox.names()
        )  # the store may have been silent at some of them, now or before
        return len(ids)

    def end_with_its_cohort(self, session: Session, upload: Upload, holder: str, reason: str) -> None:
        """End an upload that the caller has locked, in the caller's transaction; its bytes go when that has committed,
        those that are being read when the check has seen it."""
        verb = "supersede" if upload.state == "checking" else "destroy"
        self._end(session, upload, holder, verb, SYSTEM, reason)

    def remove_original(self, session: Session, upload: Upload, actor: str = SYSTEM) -> None:
        """Mark the original removed in the caller's transaction; its bytes go when that has committed."""
        if upload.original == "removed":
            return
        holder = session.get_one(Cohort, upload.cohort_id).institution_id
        self._forget(session, upload)
        self._record(session, upload, holder, "upload.original_removed", actor)

    def _visible(self, actor: policy.Actor, upload_id: str) -> Upload:
        with self.db.read() as session:
            found = queries.upload_and_holder(session, upload_id)
            if found is None:
                raise not_found("upload")
            upload, holder = found
            lineage = lineage_of(session, upload.version_id) if upload.version_id else None
            session.expunge(upload)
        by = lineage.returned_by if lineage else None
        policy.must_upload(actor, policy.UploadFacts(institution_id=holder, returned_by=by))
        if upload.purpose == "consents":
            must_hold_consents_scope(actor)
        return upload

    def _reload(self, upload_id: str) -> dict[str, Any]:
        with self.db.read() as session:
            return _view(session.get_one(Upload, upload_id))

    def _must_stand_at(self, upload: Upload, offset: int) -> None:
        self._must_live(upload.state, upload.report, self._is_late(upload))
        if offset != upload.received:
            raise Problem(
                "upload_offset_mismatch",
                f"The upload stands at {upload.received}.",
                headers={"Upload-Offset": str(upload.received)},
            )
        if upload.state not in RECEIVES:
            raise Problem("conflict", "The upload has all its bytes.")

    def _is_late(self, upload: Upload) -> bool:
        return upload.expires_at <= self.clock()

    def _must_live(self, state: str, report: dict[str, Any] | None, late: bool) -> None:
        if state == "expired" or (late and state in RECEIVES):
            reason = (report or {}).get("reason", "expired")
            raise Problem("upload_gone", f"The upload has ended: {reason}.", extra={"reason": reason})

    @contextmanager
    def _only_writer(self, upload_id: str) -> Iterator[Writer]:
        try:
            with self.inbox.writer(upload_id) as writer:
                yield writer
        except Busy:
            again = {"Retry-After": "1"}
            raise Problem(
                "upload_locked", "Another request is writing to this upload.", headers=again
            ) from None
        except FileNotFoundError:
            raise Problem("upload_gone", "The bytes of this upload are not here (any more).") from None

    def _receive(
        self, writer: Writer, upload: Upload, chunks: Iterable[bytes], checksum: Checksum | None
    ) -> int:
        """Write all chunks; the offset reached and acknowledged."""
        acknowledged = position = upload.received
        digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        try:
            for chunk in chunks:
                if position + len(chunk) > upload.length:
                    most = f"The upload was announced with {upload.length} bytes."
                    raise Problem("payload_too_large", most)
                writer.write(position, chunk)
                position += len(chunk)
                if digest:
                    digest.update(chunk)
                elif position - acknowledged >= self.checkpoint_bytes:
                    acknowledged = self._acknowledge(writer, upload.id, acknowledged, position)
        except Interrupted:
            if digest is None:
                self._acknowledge(writer, upload.id, acknowledged, position)
            raise
        if digest and checksum and not hmac.compare_digest(digest.digest(), checksum.digest):
            raise Problem(
                "upload_checksum_mismatch", "The bytes of this request were discarded; send them again."
            )
        return self._acknowledge(writer, upload.id, acknowledged, position)

    def _acknowledge(self, writer: Writer, upload_id: str, was: int, reached: int) -> int:
        writer.sync()
        with self.db.unit_of_work() as session:
            if not queries.acknowledge(session, upload_id, was, reached):
                raise Problem("upload_gone", "The upload ended while its bytes were arriving.")
        return reached

    def _complete(self, upload_id: str) -> dict[str, Any]:
        """Make the object, then commit its digest, the end of its rivals and the job; repeatable after a crash."""
        stored = self.inbox.seal(upload_id)
        with self.db.unit_of_work() as session:
            upload, version, holder = queries.lock_with_target(session, upload_id)
            closed = version is not None and version.state not in TAKES_UPLOADS
            if upload.state in RECEIVES and closed:
                self._end(session, upload, holder, "expire", SYSTEM, "version_closed")
            elif upload.state in RECEIVES:
                upload.state, upload.sha256 = step(upload.state, "finish"), stored.sha256
                # What is laid onto the rows that are there takes nothing away from what came before it.
                older_ones = queries.older_undecided(session, upload) if upload.mode == "replace" else []
                for older in older_ones:
                    self._end(session, older, holder, "supersede", upload.created_by, "superseded")
                self._record(session, upload, holder, "upload.completed", upload.created_by)
                self.on_complete(session, upload)
        if upload.state == "expired":
            self.inbox.remove(upload_id)  # what ended while the object was made left it behind
        self._must_live(upload.state, upload.report, late=False)
        self.inbox.drop_partial(upload_id)
        return _view(upload)

    def _end(self, session: Session, upload: Upload, holder: str, verb: str, actor: str, reason: str) -> None:
        """End the upload without an outcome. A job that reads it removes the original itself, when it sees this. What
        waited for its outcome is looked at again."""
        being_read = upload.state == "checking" and held_up(session, upload.id) is None
        upload.state = step(upload.state, verb)
        upload.report = {"reason": reason}
        if not being_read:
            self._forget(session, upload)
        name = "upload.terminated" if verb == "terminate" else "upload.expired"
        self._record(session, upload, holder, name, actor, reason=reason)
        for other in queries.waiting_behind(session, upload):
            self.on_complete(session, other)

    def _forget(self, session: Session, upload: Upload) -> None:
        upload.original = "removed"
        upload_id = upload.id

        @event.listens_for(session, "after_commit")
        def _remove(of: Session) -> None:
            if not of.in_nested_transaction():  # a savepoint's end is not the end
                with suppress(OSError, Problem):  # it is committed already, and the sweep comes again
                    self.inbox.remove(upload_id)

    def _expire(self, upload_id: str) -> None:
        with self.db.unit_of_work() as session:
            upload, _version, holder = queries.lock_with_target(session, upload_id)
            if not queries.is_due(session, upload, self.clock()):
                return  # it was completed, or its check was begun, since it was found
            if upload.state in UNDECIDED:
                self._end(session, upload, holder, "expire", SYSTEM, "expired")
            else:
                self.remove_original(session, upload)

    def end_lost(self) -> int:
        """After a restore, before anything is served: end what was to be checked and whose bytes no store holds, for
        they are in no backup; how many. They are sent again."""
        with self.db.read() as session:
            lost = [one for one in queries.to_be_checked(session) if not self.inbox.exists(one)]
        for upload_id in lost:
            with self.db.unit_of_work() as session:
                upload, _version, holder = queries.lock_with_target(session, upload_id)
                self._end(session, upload, holder, "lose", SYSTEM, "lost")
                upload.original = "removed"
        return len(lost)

    def _remove_unkept(self, names: list[str]) -> None:
        """Of these, what rows call removed, and what has had no row for a day (the process died while creating)."""
        with self.db.read() as session:
            originals = queries.originals(session, names)
        yesterday = self.clock() - timedelta(days=1)
        orphans = [name for name in self.inbox.untouched_since(yesterday) if name not in originals]
        for name in [name for name, original in originals.items() if original == "removed"] + orphans:
            self.inbox.remove(name)

    def _record(
        self, session: Session, upload: Upload, holder: str, name: str, actor: str, **more: Any
    ) -> None:
        data = {"purpose": upload.purpose, "version": upload.version_id, "bytes": upload.length, **more}
        if upload.sha256:
            data["sha256"] = upload.sha256
        stream = institution_stream(holder)
        record(
            session, stream=stream, event=name, actor=actor, object_id=upload.id, at=self.clock(), data=data
        )


def _view(upload: Upload, waits: dict[str, Any] | None = None) -> dict[str, Any]:
    """An upload as people see it; times are datetimes in UTC. `waits`: why its check was stopped, where it was."""
    return {
        "id": upload.id, "purpose": upload.purpose, "version": upload.version_id, "cohort": upload.cohort_id,
        "table": upload.table_name, "mode": upload.mode, "partition": upload.partition,
        "length": upload.length, "received": upload.received,
        "state": upload.state, "sha256": upload.sha256, "report": upload.report, "held_up": waits,
        "original": upload.original, "created_at": upload.created_at, "expires_at": upload.expires_at,
    }  # fmt: skip
