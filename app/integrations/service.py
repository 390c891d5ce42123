"""The verbs of integrations: draft, map, hand in, review by each holder of the data, publish, take out of use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.auth import policy
from app.auth.policy import Actor, IntegrationFacts
from app.clock import Clock
from app.db import Database, new_id
from app.deid import united
from app.errors import Finding, Problem
from app.integrations import queries
from app.integrations.checking import static
from app.integrations.reports import as_findings
from app.integrations.states import step
from app.jobs import enqueue, parking
from app.jobs.answers import Once, earlier, keep
from app.models import Dataset, DatasetVersion, Integration, IntegrationApproval, VersionSource
from app.schemas.plan import digest
from app.settings import Settings

View = dict[str, Any]


@dataclass(frozen=True)
class IntegrationService:
    """What institutions draft and stewards review; checking the rows is a job (`integrations/checking.py`)."""

    db: Database
    clock: Clock
    settings: Settings

    def create(self, actor: Actor, body: Mapping[str, Any], once: Once | None = None) -> View:
        """A draft under a dataset of its own; `next_of` is an integration whose dataset and mapping it goes on from."""
        holder = actor.institution_id or ""
        policy.must_draft_integration(actor, IntegrationFacts(holder, "draft"))
        now = self.clock()
        with self.db.unit_of_work() as session:
            if (answer := earlier(session, once, now)) is not None:
                return answer
            before = body.get("next_of")
            dataset_id, mapping = (
                self._next_of(session, actor, before) if before else (_dataset(session, body, now), None)
            )
            numbers = select(func.max(Integration.number)).where(Integration.dataset_id == dataset_id)
            row = Integration(
                id=new_id("int"), institution_id=holder, dataset_id=dataset_id,
                number=(session.scalar(numbers) or 0) + 1, state="draft", mapping=None, mapping_digest=None,
                report=None, version_id=None, revision=1, created_at=now, published_at=None,
            )  # fmt: skip
            session.add(row)
            session.flush()
            if mapping is not None:
                _set(session, row, mapping)
            _note(
                session, row, "integration.created", actor, now, {"dataset": dataset_id, "number": row.number}
            )
            receipt = {
                "id": row.id,
                "dataset_id": dataset_id,
                "number": row.number,
                "state": row.state,
                "revision": 1,
            }
            return keep(session, once, 201, receipt)

    def get(self, actor: Actor, integration_id: str) -> View:
        """One integration with its mapping and what its check found."""
        with self.db.read() as session:
            row = queries.integration(session, integration_id)
            policy.must_read_integration(actor, queries.facts(session, row))
            return self._view(session, row, actor)

    def integrations(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """Those that the actor drafts, or whose data the actor holds or stewards."""
        with self.db.read() as session:
            return [queries.brief(session, row) for row in queries.seen_by(session, actor, after, limit)]

    def set_mapping(
        self, actor: Actor, integration_id: str, document: dict[str, Any], seen: Sequence[int] | None
    ) -> View:
        """Replace the mapping of a draft. Its shape and dictionary must hold; what it leaves unmapped, the check lists.

        The institutions of its sources see the integration from here on."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = self._drafted(session, actor, integration_id)
            if seen is not None and row.revision not in seen:
                tag = {"ETag": f'"{row.revision}"'}
                raise Problem("precondition_failed", "Read it again, then edit.", headers=tag)
            row.state = step(row.state, "edit")
            _set(session, row, document)
            row.revision += 1
            _note(session, row, "integration.mapping_set", actor, now, {"mapping": row.mapping_digest})
            return self._view(session, row, actor)

    def submit(self, actor: Actor, integration_id: str) -> View:
        """Hand in: every column, value, unit and code is checked against the vault, which is a job."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = self._drafted(session, actor, integration_id)
            if row.mapping is None:
                raise Problem("conflict", "Set the mapping first.", extra={"state": row.state})
            row.state, row.report = step(row.state, "submit"), None
            row.revision += 1
            for one in queries.approvals(session, row.id):
                one.state, one.by, one.note, one.at = "pending", None, "", None
            enqueue(session, "check_integration", subject=row.id, at=now)
            _note(session, row, "integration.submitted", actor, now, {"mapping": row.mapping_digest})
            session.flush()
            return self._view(session, row, actor)

    def review(self, actor: Actor, integration_id: str, state: str, mapping_digest: str, note: str) -> View:
        """A steward says of the mapping with this digest what their institution's data may: approved or returned.

        One institution's steward speaks for its data; the public board for all. Returned, it is a draft again."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = queries.integration(session, integration_id, lock=True)
            policy.must_review_integration(actor, queries.facts(session, row))
            row.state = step(row.state, "review")
            if mapping_digest != row.mapping_digest:
                finding = Finding("mapping_changed", "is not the present mapping", pointer="/mapping_digest")
                raise Problem("precondition_failed", "Read the integration again.", [finding])
            said = [
                a
                for a in queries.approvals(session, row.id)
                if actor.institution_id in (None, a.institution_id)
            ]
            for one in said:
                one.state, one.by, one.note, one.at = state, actor.subject, note, now
            if state == "returned":
                row.state = step(row.state, "return")
            row.revision += 1
            data = {
                "mapping": row.mapping_digest,
                "state": state,
                "institutions": [a.institution_id for a in said],
            }
            _note(session, row, "integration.reviewed", actor, now, data)
            session.flush()
            return self._view(session, row, actor)

    def reopen(self, actor: Actor, integration_id: str) -> View:
        """Its drafter takes an integration in review back into a draft, to change it; or one whose check was given up,
        so that it need not wait for the operator."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = self._drafted(session, actor, integration_id)
            given_up = row.state == "checking" and parking.is_given_up(session, "check_integration", row.id)
            row.state = step(row.state, "take_back" if given_up else "reopen")
            row.revision += 1
            _note(session, row, "integration.reopened", actor, now)
            return self._view(session, row, actor)

    def publish(self, actor: Actor, integration_id: str) -> View:
        """A united version, once every holder has approved this very mapping and nothing is unmapped. No row is
        copied: the version is read through the mapping from where the sources lie."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = queries.integration(session, integration_id, lock=True)
            policy.must_review_integration(actor, queries.facts(session, row))
            _must_be_complete(session, row)
            after = step(row.state, "publish")
            missing = [
                a
                for a in queries.approvals(session, row.id)
                if a.state != "approved" or a.mapping_digest != row.mapping_digest
            ]
            if missing:
                found = [
                    Finding("approval_missing", f"the steward of {a.institution_id} has not approved it")
                    for a in missing
                ]
                raise Problem(
                    "reviews_required", "Every institution whose data are united approves the mapping.", found
                )
            version = _united_version(session, row, now)
            row.state, row.version_id, row.published_at = after, version.id, now
            for old in queries.published_before(session, row):
                old.state = step(old.state, "supersede")
                session.get_one(DatasetVersion, old.version_id).state = "superseded"
                _note(session, old, "integration.superseded", actor, now, {"by": row.id})
            row.revision += 1
            data = {
                "mapping": row.mapping_digest,
                "version": version.id,
                "dictionary": version.dictionary_digest,
            }
            _note(session, row, "integration.published", actor, now, data)
            enqueue(session, "index_variables", subject=version.id, at=now)
            session.flush()
            return self._view(session, row, actor)

    def withdraw(self, actor: Actor, integration_id: str) -> View:
        """Any institution whose data are united takes the united version out of use: no new request, no new extract."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = queries.integration(session, integration_id, lock=True)
            policy.must_withdraw_integration(actor, queries.facts(session, row))
            row.state = step(row.state, "withdraw")
            row.revision += 1
            session.get_one(DatasetVersion, row.version_id, with_for_update=True).state = "withdrawn"
            _note(session, row, "integration.withdrawn", actor, now, {"version": row.version_id})
            session.flush()
            return self._view(session, row, actor)

    def _next_of(self, session: Session, actor: Actor, before: str) -> tuple[str, dict[str, Any] | None]:
        row = queries.integration(session, before)
        policy.must_change_integration(actor, queries.facts(session, row))
        session.get_one(Dataset, row.dataset_id, with_for_update=True)  # numbers have no gaps and no twins
        return row.dataset_id, row.mapping

    def _drafted(self, session: Session, actor: Actor, integration_id: str) -> Integration:
        row = queries.integration(session, integration_id, lock=True)
        policy.must_change_integration(actor, queries.facts(session, row))
        return row

    def _view(self, session: Session, row: Integration, actor: Actor) -> View:
        return queries.view(session, row, actor, self.settings.min_cell, self.settings.round_to)


def _dataset(session: Session, body: Mapping[str, Any], now: datetime) -> str:
    if not body.get("name"):
        finding = Finding("missing", "a first integration has a name", pointer="/name")
        raise Problem("invalid_request", "Name it, or say what it goes on from.", [finding])
    row = Dataset(
        id=new_id("ds"), cohort_id=None, name=body["name"], name_ko=body.get("name_ko", ""),
        description=body.get("description", ""), keywords=list(body.get("keywords", [])), created_at=now,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def _set(session: Session, row: Integration, document: dict[str, Any]) -> None:
    """The mapping, and its sources' institutions as those who must approve it. What it lacks, the check tells."""
    mapping = united.read(document)
    united.dictionary_of(mapping)
    found, holders = static(session, mapping, row.institution_id)
    wrong = [one for one in found if one.code in ("source_not_published", "cohort_twice", "none_of_yours")]
    if wrong:
        raise Problem("mapping_invalid", "The sources of the mapping cannot be united.", wrong)
    row.mapping = mapping.model_dump(mode="json", by_alias=True)
    row.mapping_digest, row.report = digest(row.mapping), None
    for one in queries.approvals(session, row.id):
        session.delete(one)
    session.flush()
    session.add_all(
        IntegrationApproval(
            integration_id=row.id, institution_id=institution, mapping_digest=row.mapping_digest, state="pending",
            by=None, note="", at=None,
        )
        for institution in sorted(set(holders.values()))
    )  # fmt: skip
    session.flush()


def _must_be_complete(session: Session, row: Integration) -> None:
    if row.report is not None and row.report["outcome"] == "unmapped":
        raise Problem(
            "mapping_unfinished",
            "Nothing is published that leaves something unmapped.",
            as_findings(row.report),
        )
    if row.state == "in_review" and row.mapping is not None:
        # A source may have been taken out of use since the check.
        found, _holders = static(session, united.read(row.mapping), row.institution_id)
        if found:
            raise Problem("mapping_unfinished", "The sources have changed since they were checked.", found)


def _united_version(session: Session, row: Integration, now: datetime) -> DatasetVersion:
    mapping = united.read(row.mapping or {})
    dictionary = united.dictionary_of(mapping).model_dump(mode="json")
    numbers = select(func.max(DatasetVersion.number)).where(DatasetVersion.dataset_id == row.dataset_id)
    version = DatasetVersion(
        id=new_id("ver"), dataset_id=row.dataset_id, number=(session.scalar(numbers) or 0) + 1, state="published",
        dictionary=dictionary, dictionary_digest=digest(dictionary), report=None,
        people=(row.report or {}).get("participants", 0), revision=1, created_at=now, published_at=now,
    )  # fmt: skip
    session.add(version)
    session.flush()
    session.add_all(
        VersionSource(version_id=version.id, source_version_id=one.version_id, name=one.name)
        for one in mapping.sources
    )
    session.flush()
    return version


def _note(
    session: Session, row: Integration, event: str, actor: Actor, at: datetime, data: Any = None
) -> None:
    """One line in the chain of every institution concerned."""
    for institution in sorted({row.institution_id, *queries.facts(session, row).also}):
        record(
            session, stream=institution_stream(institution), event=event, actor=actor.subject, object_id=row.id,
            at=at, data=data,
        )  # fmt: skip
