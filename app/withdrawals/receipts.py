"""Receipts: read from the audit chain, for those who may, and held against it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import project_stream, verify
from app.auth import policy
from app.auth.policy import Actor, ProjectFacts
from app.consents.cohorts import behind
from app.consents.custody import streams
from app.db import Database
from app.errors import Finding, not_found
from app.models import AuditLine, BlockMark, Cohort, Extract, Permit, Project, RecallNotice, Withdrawal
from app.withdrawals.page import page
from app.withdrawals.proof import ABOUT_ITSELF, ABOUT_PROJECTS, Receipt, concerns, faults, written


@dataclass(frozen=True)
class ReceiptService:
    """The verbs of receipts."""

    db: Database

    def receipt(self, actor: Actor, withdrawal_id: str) -> Receipt:
        """The receipt as it stands, whole for the institution and its stewards; the holder of a project that was told
        reads what was done in that project."""
        with self.db.read() as session:
            row = session.get(Withdrawal, withdrawal_id)
            if row is None:
                raise not_found("withdrawal")
            return _written(session, row, self._streams(session, actor, row))

    def page(self, actor: Actor, withdrawal_id: str) -> str:
        """The same receipt as HTML, for those who may read it."""
        return page(self.receipt(actor, withdrawal_id))

    def verify(self, actor: Actor, withdrawal_id: str, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """Hold a receipt against itself and against the chain: every place where it does not hold."""
        with self.db.read() as session:
            row = session.get(Withdrawal, withdrawal_id)
            if row is None:
                raise not_found("withdrawal")
            streams = self._streams(session, actor, row)
            found = [*faults(receipt), *_against_the_chain(session, row, streams, receipt)]
        return {"holds": not found, "problems": [finding.to_dict() for finding in found]}

    def _streams(self, session: Session, actor: Actor, row: Withdrawal) -> list[str]:
        """The streams that the actor may read of this withdrawal; a Problem where there is none."""
        institution = session.get_one(Cohort, row.cohort_id).institution_id
        projects = _projects(session, row.id)
        if policy.may_read_receipt(actor, policy.CohortFacts(institution)).allowed:
            return [*streams(session, row.cohort_id), *map(project_stream, projects)]
        own = [
            project
            for project in projects
            if policy.may_read_extract(actor, _facts(session, project)).allowed
        ]
        if not own:
            raise not_found("withdrawal")
        return [project_stream(project) for project in own]


def _written(session: Session, row: Withdrawal, streams: list[str]) -> Receipt:
    whole = any(stream.startswith("institution:") for stream in streams)
    head: dict[str, Any] = {
        "id": row.id, "kind": row.kind, "state": row.state, "of_project": not whole,
        "commitment": row.commitment,
    }  # fmt: skip
    if whole:
        notices = select(RecallNotice.state).where(RecallNotice.withdrawal_id == row.id)
        head |= {
            "cohort_id": row.cohort_id, "domains": row.domains, "figures": dict(row.receipt),
            "recalls": dict(sorted(Counter(session.scalars(notices)).items())),
        }  # fmt: skip
    return written(head, _lines(session, row.id, streams))


def _lines(session: Session, withdrawal_id: str, streams: list[str]) -> list[dict[str, Any]]:
    """Every line of these streams that speaks of a withdrawal, stream by stream."""
    marked = select(BlockMark.extract_id).where(BlockMark.withdrawal_id == withdrawal_id)
    query = select(AuditLine).where(
        AuditLine.stream.in_(streams),
        AuditLine.event.in_((*ABOUT_ITSELF, *ABOUT_PROJECTS)),
        (AuditLine.object_id == withdrawal_id) | AuditLine.object_id.in_(marked),
    )
    rows = session.scalars(query.order_by(AuditLine.stream, AuditLine.number))
    return [_shown(line) for line in rows if concerns(withdrawal_id, line.event, line.object_id, line.data)]


def _shown(line: AuditLine) -> dict[str, Any]:
    return {
        "stream": line.stream, "number": line.number, "at": line.at.isoformat(), "event": line.event,
        "actor": line.actor, "object_id": line.object_id, "data": line.data, "previous": line.previous.hex(),
        "digest": line.digest.hex(),
    }  # fmt: skip


def _against_the_chain(
    session: Session, row: Withdrawal, streams: list[str], receipt: Mapping[str, Any]
) -> list[Finding]:
    found = []
    if receipt.get("id") != row.id:
        found.append(Finding("receipt_foreign", "the receipt is of another withdrawal", pointer="/id"))
    lines = receipt.get("lines")
    given = (
        {_place(line) for line in lines if isinstance(line, Mapping)} if isinstance(lines, list) else set()
    )
    here = _lines(session, row.id, streams)
    for i, line in enumerate(lines if isinstance(lines, list) else ()):
        if line not in here:
            detail = "the chain has no such line"
            found.append(Finding("line_not_in_chain", detail, pointer=f"/lines/{i}"))
    # Lines that came after the receipt was written are no fault; a gap before its last line is one.
    last = {stream: max((n for s, n in given if s == stream), default=0) for stream in streams}
    if missing := [
        line for line in here if _place(line) not in given and line["number"] < last[line["stream"]]
    ]:
        found.append(
            Finding("line_missing", "the chain has lines that the receipt leaves out", count=len(missing))
        )
    found += [
        Finding("chain_broken", "the chain itself does not hold; its verification tells where", count=1)
        for stream in streams
        if verify(session, stream)[1] is not None
    ]
    return found


def _place(line: Mapping[str, Any]) -> tuple[str, int]:
    number = line.get("number")
    return str(line.get("stream")), number if isinstance(number, int) else 0


def _projects(session: Session, withdrawal_id: str) -> list[str]:
    query = select(Extract.project_id).join(BlockMark, BlockMark.extract_id == Extract.id)
    return sorted(set(session.scalars(query.where(BlockMark.withdrawal_id == withdrawal_id))))


def _facts(session: Session, project_id: str) -> ProjectFacts:
    project = session.get_one(Project, project_id)
    versions = session.scalars(select(Permit.version_id).where(Permit.project_id == project_id)).all()
    first, *others = behind(session, versions[0]).institutions
    return ProjectFacts(holder=project.holder, institution_id=first, also=tuple(others))
