"""Errata: a wrong value found later is recalled from whoever holds it, and the corrected one takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.auth import policy
from app.auth.policy import Actor
from app.clock import Clock
from app.cohorts import queries
from app.cohorts.succession import LIVE
from app.db import Database, new_id
from app.errors import Finding, Problem, not_found, refuse_all
from app.jobs import enqueue
from app.jobs.answers import Once, earlier, keep
from app.models import Cohort, DatasetVersion, Erratum, Extract, Permit, Project, RecallNotice
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan

View = dict[str, Any]


@dataclass(frozen=True)
class ErrataService:
    """The verbs of errata. Telling holders is a job of the same transaction."""

    db: Database
    clock: Clock

    def declare(
        self, actor: Actor, version_id: str, body: Mapping[str, Any], once: Once | None = None
    ) -> View:
        """Say that a published version corrects the one it was made from: which columns held wrong values, and why.

        Every permit on the wrong version whose plan has one of them goes on to this one, whether or not it follows; its
        holder is told and answers as after a withdrawal. Problems: all that is wrong with what is said, at once."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row, _held, of = queries.version(session, version_id, lock=True)
            policy.must_change_version(actor, queries.version_facts(row, of))
            if (answer := earlier(session, once, now)) is not None:
                return answer
            wrong = _corrected(session, row)
            refuse_all(
                "invalid_request", "The erratum cannot be declared.", list(_findings(row, wrong, body))
            )
            erratum = Erratum(
                id=new_id("err"), cohort_id=of.id, version_id=row.id, corrects=wrong.id, tables=body["tables"],
                reason=body["reason"], by=actor.subject, at=now,
            )  # fmt: skip
            session.add(erratum)
            session.flush()
            held = [*_on(session, wrong.id), *_came_from(session, row)]
            permits = [permit for permit in held if _concerned(permit, body["tables"])]
            for permit in permits:
                arguments = {"erratum_id": erratum.id}
                enqueue(session, "correct_permit", subject=permit.id, arguments=arguments, at=now)
            data = {"corrects": wrong.id, "version": row.id, "permits": len(permits)}
            record(
                session, stream=institution_stream(of.institution_id), event="erratum.declared",
                actor=actor.subject, object_id=erratum.id, at=now, data=data,
            )  # fmt: skip
            return keep(session, once, 201, self._view(session, erratum, actor, of))

    def of_version(self, actor: Actor, version_id: str) -> list[View]:
        """The errata that speak of a version: as the wrong one, or as the one that corrects it."""
        with self.db.read() as session:
            row, _held, of = queries.version(session, version_id)
            policy.must_read_version(actor, queries.version_facts(row, of))
            query = select(Erratum).where((Erratum.version_id == row.id) | (Erratum.corrects == row.id))
            return [
                self._view(session, one, actor, of) for one in session.scalars(query.order_by(Erratum.id))
            ]

    def get(self, actor: Actor, erratum_id: str) -> View:
        """One erratum: how many extracts held it and what their holders say; stewards see who holds them."""
        with self.db.read() as session:
            erratum = session.get(Erratum, erratum_id)
            if erratum is None:
                raise not_found("erratum")
            row, _held, of = queries.version(session, erratum.version_id)
            policy.must_read_version(actor, queries.version_facts(row, of))
            return self._view(session, erratum, actor, of)

    def _view(self, session: Session, row: Erratum, actor: Actor, of: Cohort) -> View:
        count = select(RecallNotice.state, func.count()).where(RecallNotice.erratum_id == row.id)
        states = {row[0]: row[1] for row in session.execute(count.group_by(RecallNotice.state))}
        holders = _holders(session, row.id) if policy.may_publish_version(actor, _facts(of)).allowed else None
        return {
            "id": row.id, "version_id": row.version_id, "corrects": row.corrects, "tables": row.tables,
            "reason": row.reason, "at": row.at, "recalls": states, "holders": holders,
        }  # fmt: skip


def _facts(of: Cohort) -> policy.VersionFacts:
    return policy.VersionFacts(institution_id=of.institution_id, state="in_review")


def _corrected(session: Session, row: DatasetVersion) -> DatasetVersion:
    if row.state != "published" or row.made_from is None:
        finding = Finding("not_a_correction", "the version is not published, or was not made from another")
        raise Problem("conflict", "Only a published version corrects the one it was made from.", [finding])
    return session.get_one(DatasetVersion, row.made_from)


def _findings(row: DatasetVersion, wrong: DatasetVersion, body: Mapping[str, Any]) -> list[Finding]:
    """Columns that the wrong version does not have, and tables whose rows are the same in both."""
    known = {t.name: {c.name for c in t.fields} for t in Dictionary.model_validate(wrong.dictionary).tables}
    moved = {
        one["table"]
        for one in (row.report or {}).get("changes", {}).get("tables", [])
        if any(one["rows"].values())
    }
    found = []
    for i, one in enumerate(body["tables"]):
        if one["table"] not in known:
            found.append(
                Finding("unknown_table", "the version has no such table", pointer=f"/tables/{i}/table")
            )
            continue
        if unknown := set(one["columns"]) - known[one["table"]]:
            detail = "the table has no such columns"
            found.append(
                Finding("unknown_column", detail, one["table"], count=len(unknown), pointer=f"/tables/{i}")
            )
        if one["table"] not in moved:
            detail = "no row of the table differs between the two versions, so nothing is corrected"
            found.append(Finding("nothing_corrected", detail, one["table"], pointer=f"/tables/{i}/table"))
    return found


def _on(session: Session, version_id: str) -> list[Permit]:
    query = select(Permit).where(Permit.version_id == version_id, Permit.state.in_((*LIVE, "expired")))
    return list(session.scalars(query.order_by(Permit.id)))


def _came_from(session: Session, row: DatasetVersion) -> list[Permit]:
    """Permits that followed to the corrected version already: their holders have the wrong values in older parts."""
    query = (
        select(Permit)
        .join(Extract, Extract.permit_id == Permit.id)
        .where(Permit.version_id == row.id, Extract.created_at < row.published_at)
    )
    return list(session.scalars(query.order_by(Permit.id)))


def _concerned(permit: Permit, tables: list[Mapping[str, Any]]) -> bool:
    """Whether a plan has any of the columns; a table named without columns is wrong as a whole."""
    planned = {t.name: {c.name for c in t.columns} for t in Plan.model_validate(permit.plan).tables}
    return any(
        one["table"] in planned and (not one["columns"] or planned[one["table"]] & set(one["columns"]))
        for one in tables
    )


def _holders(session: Session, erratum_id: str) -> list[View]:
    query = (
        select(RecallNotice, Extract, Project)
        .join(Extract, Extract.id == RecallNotice.extract_id)
        .join(Project, Project.id == Extract.project_id)
        .where(RecallNotice.erratum_id == erratum_id)
        .order_by(RecallNotice.id)
    )
    return [
        {
            "extract_id": extract.id, "project_id": project.id, "holder": project.holder,
            "generation": extract.generation, "state": notice.state, "due_at": notice.due_at,
            "attested_at": notice.attested_at,
        }
        for notice, extract, project in session.execute(query)
    ]  # fmt: skip
