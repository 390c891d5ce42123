"""What an institution registers and what a steward does with it: cohorts, datasets, dictionaries, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import PLATFORM, institution_stream, record
from app.auth import policy
from app.auth.policy import Actor, CohortFacts, InstitutionFacts
from app.clock import Clock
from app.cohorts import queries, succession
from app.cohorts.consent_intake import Leave
from app.cohorts.consents import ConsentService
from app.cohorts.errata import ErrataService
from app.cohorts.states import step
from app.db import Database, new_id
from app.deid.roles import check_dictionary
from app.errors import Finding, Problem, not_found
from app.jobs import enqueue, parking
from app.jobs.answers import Once, earlier, keep
from app.keyring import Keyring
from app.models import Cohort, Dataset, DatasetVersion, Institution
from app.schemas.plan import digest
from app.settings import Settings
from app.standards import duo

View = dict[str, Any]


@dataclass(frozen=True)
class CohortService:
    """The verbs of cohorts; checking what was uploaded is a job. `leave` is that of withdrawals."""

    db: Database
    clock: Clock
    settings: Settings
    keyring: Keyring
    leave: Leave

    @property
    def consents(self) -> ConsentService:
        """The register for one person at a time, and in numbers."""
        return ConsentService(self.db, self.clock, self.settings, self.keyring, self.leave)

    @property
    def errata(self) -> ErrataService:
        """Wrong values that a version corrects."""
        return ErrataService(self.db, self.clock)

    def register_institution(self, actor: Actor, body: Mapping[str, Any], once: Once | None = None) -> View:
        """A new institution, by the platform alone; `conflict` where the name is taken."""
        policy.must_administer(actor)
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := earlier(session, once, now)) is not None:
                return answer
            row = Institution(id=new_id("ins"), created_at=now, **body)
            _add(session, row, "An institution of that name is registered.")
            _note(session, PLATFORM, "institution.registered", actor, row.id, now)
            return keep(session, once, 201, {"id": row.id, "created_at": now})

    def institution(self, actor: Actor, institution_id: str) -> View:
        """One institution."""
        with self.db.read() as session:
            policy.must_read_institution(actor, InstitutionFacts(institution_id))
            return queries.institution_view(queries.institution(session, institution_id))

    def institutions(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """The institutions that the actor may see."""
        with self.db.read() as session:
            rows = queries.institutions_seen_by(session, actor, after, limit)
            return [queries.institution_view(row) for row in rows]

    def register_cohort(self, actor: Actor, body: Mapping[str, Any], once: Once | None = None) -> View:
        """A new cohort of the actor's institution; its data use terms are checked, all problems at once."""
        holder = actor.institution_id
        if holder is None:
            raise Problem(
                "forbidden", policy.REASONS["institution_only"], extra={"reason": "institution_only"}
            )
        policy.must_register_cohort(actor, CohortFacts(holder))
        duo.check_terms(body["duo"])
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := earlier(session, once, now)) is not None:
                return answer
            if queries.institution(session, holder, lock=True).closed_at is not None:
                raise Problem("conflict", "The institution takes part no more.", extra={"state": "closed"})
            row = Cohort(
                id=new_id("coh"), institution_id=holder, identity_key_wrapped=self.keyring.new(),
                epoch=0, created_at=now, **body,
            )  # fmt: skip
            _add(session, row, "Your institution has a cohort of that name.")
            data = {"consent_form": row.consent_form["sha256"], "duo": digest(row.duo)}
            _note(session, institution_stream(holder), "cohort.registered", actor, row.id, now, data)
            return keep(session, once, 201, {"id": row.id, "institution_id": holder, "created_at": now})

    def cohort(self, actor: Actor, cohort_id: str) -> View:
        """One cohort."""
        with self.db.read() as session:
            return queries.cohort_view(_readable(session, actor, cohort_id))

    def cohorts(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """The cohorts the actor's institution holds or the steward serves."""
        with self.db.read() as session:
            return [queries.cohort_view(row) for row in queries.cohorts_seen_by(session, actor, after, limit)]

    def uploads(self, actor: Actor, cohort_id: str, after: str | None, limit: int) -> list[View]:
        """The uploads of a cohort with their reports, newest first."""
        with self.db.read() as session:
            _readable(session, actor, cohort_id)
            return [queries.upload_view(row) for row in queries.uploads_of(session, cohort_id, after, limit)]

    def register_dataset(
        self, actor: Actor, cohort_id: str, body: Mapping[str, Any], once: Once | None = None
    ) -> View:
        """A new dataset of a cohort; `conflict` where the cohort has one of that name."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            of = _changeable(session, actor, cohort_id)
            if (answer := earlier(session, once, now)) is not None:
                return answer
            row = Dataset(id=new_id("ds"), cohort_id=cohort_id, created_at=now, **body)
            _add(session, row, "The cohort has a dataset of that name.")
            _note(session, institution_stream(of.institution_id), "dataset.registered", actor, row.id, now)
            return keep(session, once, 201, {"id": row.id, "cohort_id": cohort_id, "created_at": now})

    def dataset(self, actor: Actor, dataset_id: str) -> View:
        """One dataset."""
        with self.db.read() as session:
            row, of = queries.dataset(session, dataset_id)
            policy.must_read_dataset(actor, queries.cohort_facts(of))
            return queries.dataset_view(row)

    def datasets(self, actor: Actor, cohort_id: str, after: str | None, limit: int) -> list[View]:
        """The datasets of a cohort."""
        with self.db.glance() as connection:
            policy.must_read_cohort(actor, queries.held_by(connection, cohort_id))
            return queries.datasets_of(connection, cohort_id, after, limit)

    def new_version(
        self, actor: Actor, dataset_id: str, once: Once | None = None, made_from: str | None = None
    ) -> View:
        """A new draft, empty or made from the dataset's last version; numbers of a dataset's versions have no gaps and
        no twins."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            held, of = queries.dataset(session, dataset_id, lock=True)
            policy.must_change_dataset(actor, queries.cohort_facts(of))
            if (answer := earlier(session, once, now)) is not None:
                return answer
            row = DatasetVersion(
                id=new_id("ver"), dataset_id=held.id, number=queries.next_number(session, held.id), state="draft",
                dictionary=None, dictionary_digest=None, report=None, people=0, revision=1, created_at=now,
                published_at=None,
            )  # fmt: skip
            session.add(row)
            session.flush()
            if made_from is not None:
                succession.continue_from(session, row, made_from, held, of, now)
            _note_version(
                session, row, of, "version.created", actor, now, {"from": made_from} if made_from else None
            )
            receipt = {
                "id": row.id,
                "dataset_id": held.id,
                "number": row.number,
                "state": row.state,
                "revision": 1,
                "made_from": made_from,
            }
            return keep(session, once, 201, receipt)

    def version(self, actor: Actor, version_id: str) -> View:
        """One version: its state, tables and progress."""
        with self.db.glance() as connection:
            facts, row = queries.shown_version(connection, version_id)
            policy.must_read_version(actor, facts)
            return queries.version_view(connection, row, row.cohort_id)

    def versions(self, actor: Actor, dataset_id: str, after: str | None, limit: int) -> list[View]:
        """The versions of a dataset, newest first."""
        with self.db.read() as session:
            _row, of = queries.dataset(session, dataset_id)
            policy.must_read_dataset(actor, queries.cohort_facts(of))
            rows = queries.versions_of(session, dataset_id, after, limit)
            return [queries.version_view(session.connection(), row, of.id) for row in rows]

    def versions_in_review(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """What waits for this steward's publication."""
        with self.db.read() as session:
            rows = queries.versions_in_review(session, actor, after, limit)
            return [
                queries.version_view(session.connection(), row, queries.version(session, row.id)[2].id)
                for row in rows
            ]

    def dictionary(self, actor: Actor, version_id: str) -> tuple[View, int]:
        """The dictionary of a version and its revision; `not_found` where none was set."""
        with self.db.read() as session:
            row, _of = _readable_version(session, actor, version_id)
            if row.dictionary is None:
                raise not_found("dictionary")
            return row.dictionary, row.revision

    def set_dictionary(
        self, actor: Actor, version_id: str, document: Mapping[str, Any], if_match: Sequence[int] | None
    ) -> View:
        """Replace the dictionary of a draft. `if_match` holds the revisions the editor has seen; None: any.

        Problems: `dictionary_invalid` with every finding, `precondition_failed` where another edit came first.
        """
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = _changeable_version(session, actor, version_id)
            must_match(row.revision, if_match)
            row.state = step(row.state, "edit")
            checked = check_dictionary(document).model_dump(mode="json")
            row.dictionary, row.dictionary_digest = checked, digest(checked)
            row.revision += 1
            data = {"dictionary": row.dictionary_digest}
            _note_version(session, row, of, "version.dictionary_set", actor, now, data)
            return {
                "version_id": row.id, "state": row.state, "dictionary_digest": row.dictionary_digest,
                "revision": row.revision,
            }  # fmt: skip

    def changes(self, actor: Actor, version_id: str) -> View:
        """What the dictionary of a version changes against the version before, and what that does to live permits."""
        with self.db.read() as session:
            row, _of = _readable_version(session, actor, version_id)
            before = succession.predecessor(session, row)
            return {"version_id": row.id, "state": row.state, **succession.brief(session, row, before)}

    def state_changes(
        self,
        actor: Actor,
        version_id: str,
        breaking: Sequence[Mapping[str, Any]],
        if_match: Sequence[int] | None,
    ) -> View:
        """Name the breaking changes of a draft: none is published that its institution has not named."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = _changeable_version(session, actor, version_id)
            must_match(row.revision, if_match)
            row.state = step(row.state, "edit")
            before = succession.predecessor(session, row)
            succession.state_changes(row, before, breaking)
            row.revision += 1
            data = {"stated": len(breaking)}
            _note_version(session, row, of, "version.changes_stated", actor, now, data)
            session.flush()
            return {
                "version_id": row.id, "state": row.state, "revision": row.revision,
                **succession.brief(session, row, before),
            }  # fmt: skip

    def report(self, actor: Actor, version_id: str) -> View:
        """What checking found: places and counts, never a value; `not_found` before the first check has ended."""
        with self.db.read() as session:
            row, _of = _readable_version(session, actor, version_id)
            if row.report is None:
                raise not_found("report")
            return {"version_id": row.id, "state": row.state, "report": row.report}

    def submit(self, actor: Actor, version_id: str) -> View:
        """Hand in: a draft to the checks (a job), a version that passed them to the steward."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = _changeable_version(session, actor, version_id)
            if row.state in ("draft", "quarantined") and row.dictionary is None:
                raise Problem("conflict", "Set the dictionary first.", extra={"state": row.state})
            row.state = step(row.state, "submit")
            if row.state == "validating":
                row.report = None
                enqueue(session, "submit_version", subject=row.id, arguments={"version_id": row.id}, at=now)
            _note_version(session, row, of, "version.submitted", actor, now, {"state": row.state})
            return queries.version_view(session.connection(), row, of.id)

    def publish(self, actor: Actor, version_id: str) -> View:
        """A steward publishes what is in review; the dataset's version published before is superseded."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            # The dataset is locked first: two versions of it never come out published at once.
            row, held, of = queries.version(session, version_id)
            queries.dataset(session, held.id, lock=True)
            row, _held, of = queries.version(session, version_id, lock=True)
            policy.must_publish_version(actor, queries.version_facts(row, of))
            before = succession.predecessor(session, row)
            if row.made_from is not None and before is not None and before.state != "published":
                why = [succession.not_last(before.state)]
                raise Problem("conflict", "The version it was made from is not the last one any more.", why)
            row.state, row.published_at = step(row.state, "publish"), now
            for old in queries.published_before(session, row):
                old.state = step(old.state, "supersede")
                _note_version(session, old, of, "version.superseded", actor, now, {"by": row.id})
            succession.let_follow(session, row, now)
            data = {"dictionary": row.dictionary_digest, "people": row.people}
            _note_version(session, row, of, "version.published", actor, now, data)
            enqueue(session, "index_variables", subject=row.id, at=now)
            session.flush()
            return queries.version_view(session.connection(), row, of.id)

    def send_back(self, actor: Actor, version_id: str, note: str) -> View:
        """A steward returns what is in review: it is a draft again, with the note in its report."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, _held, of = queries.version(session, version_id, lock=True)
            policy.must_publish_version(actor, queries.version_facts(row, of))
            row.state = step(row.state, "return")
            row.report = {
                **(row.report or {}),
                "returned": {"note": note, "by": actor.subject, "at": now.isoformat()},
            }
            _note_version(session, row, of, "version.returned", actor, now)
            return queries.version_view(session.connection(), row, of.id)

    def reopen(self, actor: Actor, version_id: str) -> View:
        """The institution takes a version that passed the checks back into a draft, to change it; or one whose check
        was given up, so that it need not wait for the operator."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = _changeable_version(session, actor, version_id)
            given_up = row.state == "validating" and parking.is_given_up(session, "submit_version", row.id)
            row.state = step(row.state, "take_back" if given_up else "reopen")
            _note_version(session, row, of, "version.reopened", actor, now)
            return queries.version_view(session.connection(), row, of.id)

    def withdraw_version(self, actor: Actor, version_id: str) -> View:
        """The institution takes a published version out of use: no new request, no new extract."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, of = _changeable_version(session, actor, version_id)
            row.state = step(row.state, "withdraw")
            _note_version(session, row, of, "version.withdrawn", actor, now)
            return queries.version_view(session.connection(), row, of.id)


def must_match(revision: int, seen: Sequence[int] | None) -> None:
    """Refuse an edit by someone who has not seen the present revision."""
    if seen is not None and revision not in seen:
        raise Problem("precondition_failed", "Read it again, then edit.", headers={"ETag": f'"{revision}"'})


def _readable(session: Session, actor: Actor, cohort_id: str) -> Cohort:
    row = queries.cohort(session, cohort_id)
    policy.must_read_cohort(actor, queries.cohort_facts(row))
    return row


def _changeable(session: Session, actor: Actor, cohort_id: str) -> Cohort:
    row = queries.cohort(session, cohort_id)
    policy.must_change_cohort(actor, queries.cohort_facts(row))
    return row


def _readable_version(session: Session, actor: Actor, version_id: str) -> tuple[DatasetVersion, Cohort]:
    row, _held, of = queries.version(session, version_id)
    policy.must_read_version(actor, queries.version_facts(row, of))
    return row, of


def _changeable_version(session: Session, actor: Actor, version_id: str) -> tuple[DatasetVersion, Cohort]:
    row, _held, of = queries.version(session, version_id, lock=True)
    policy.must_change_version(actor, queries.version_facts(row, of))
    return row, of


def _add(session: Session, row: Institution | Cohort | Dataset, taken: str) -> None:
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        raise Problem("conflict", taken, [Finding("name_taken", taken, pointer="/name")]) from None


def _note(
    session: Session, stream: str, event: str, actor: Actor, object_id: str, at: datetime, data: Any = None
) -> None:
    record(session, stream=stream, event=event, actor=actor.subject, object_id=object_id, at=at, data=data)


def _note_version(
    session: Session,
    row: DatasetVersion,
    of: Cohort,
    event: str,
    actor: Actor,
    at: datetime,
    data: Any = None,
) -> None:
    _note(session, institution_stream(of.institution_id), event, actor, row.id, at, data)
