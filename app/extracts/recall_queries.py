"""The SQL of recalls: what a holder has to delete, what is overdue, and how each is shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app.auth import policy
from app.auth.policy import Actor
from app.extracts.queries import facts
from app.ledger.parts import listed
from app.models import DatasetVersion, Erratum, Extract, Permit, Project, RecallNotice, Withdrawal
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan
from app.schemas.register import DESTROYING, ENDED

View = dict[str, Any]


def of_extract(
    session: Session, extract_id: str, after: str | None = None, limit: int | None = None
) -> list[RecallNotice]:
    """The recalls of an extract in the order in which they came, from the one after `after`."""
    query = select(RecallNotice).where(RecallNotice.extract_id == extract_id)
    if after:
        query = query.where(RecallNotice.id > after)
    return list(session.scalars(query.order_by(RecallNotice.id).limit(limit)))


def due(session: Session, now: datetime, days: int) -> list[RecallNotice]:
    """Open recalls whose day has passed, by extract, locked; those from before there was such a day have `days`."""
    old = and_(RecallNotice.due_at.is_(None), RecallNotice.at <= now - timedelta(days=days))
    query = select(RecallNotice).where(RecallNotice.state == "open", or_(RecallNotice.due_at <= now, old))
    return list(session.scalars(query.order_by(RecallNotice.extract_id, RecallNotice.id).with_for_update()))


def thawing(session: Session, on: date) -> list[RecallNotice]:
    """Frozen recalls whose date has come, by extract, locked."""
    query = select(RecallNotice).where(RecallNotice.state == "frozen", RecallNotice.frozen_until <= on)
    return list(session.scalars(query.order_by(RecallNotice.extract_id, RecallNotice.id).with_for_update()))


def of_destroyed(session: Session, notices: Sequence[RecallNotice]) -> set[str]:
    """Those of the recalls' withdrawals that asked for destruction."""
    ids = {notice.withdrawal_id for notice in notices}
    query = select(Withdrawal.id).where(Withdrawal.id.in_(ids), Withdrawal.kind.in_(DESTROYING))
    return set(session.scalars(query))


def unanswered(session: Session) -> tuple[int, int]:
    """How many recalls nobody has answered yet, and how many of these are overdue."""
    open_ = select(func.count()).select_from(RecallNotice).where(RecallNotice.state == "open")
    late = open_.where(RecallNotice.overdue_at.is_not(None))
    return session.scalar(open_) or 0, session.scalar(late) or 0


def by_extract(session: Session, actor: Actor, after: str | None, limit: int) -> list[View]:
    """For a steward: the extracts with recalls that nobody has answered, of the cohorts they serve. No pseudonym."""
    counts = (
        select(
            RecallNotice.extract_id,
            func.count().label("open"),
            func.count(RecallNotice.overdue_at).label("overdue"),
            func.min(RecallNotice.due_at).label("due_at"),
        )
        .where(RecallNotice.state == "open")
        .group_by(RecallNotice.extract_id)
        .subquery()
    )
    query = (
        select(Extract, Project.holder, Permit, counts)
        .join(counts, counts.c.extract_id == Extract.id)
        .join(Project, Project.id == Extract.project_id)
        .join(Permit, Permit.id == Extract.permit_id)
        .order_by(Extract.id.desc())
    )
    if after:
        query = query.where(Extract.id < after)
    found: list[View] = []
    for row in session.execute(query):
        extract, holder, permit = row[0], row[1], row[2]
        if not policy.may_manage_permit(actor, facts(session, extract.project_id)).allowed:
            continue
        found.append(
            {
                "id": extract.id, "project_id": extract.project_id, "permit_id": permit.id, "holder": holder,
                "permit_state": permit.state, "open": row.open, "overdue": row.overdue, "due_at": row.due_at,
            }
        )  # fmt: skip
        if len(found) == limit:
            break
    return found


def shown(session: Session, row: RecallNotice) -> View:
    """A recall with what an erratum says, where it is one."""
    said = session.get(Erratum, row.erratum_id) if row.erratum_id else None
    if said is None:
        of = session.get(Withdrawal, row.withdrawal_id) if row.withdrawal_id else None
        return view(row) if of is None or of.kind != ENDED else {**view(row), "why": ENDED}
    about = {
        "reason": said.reason,
        "tables": said.tables,
        "corrects": said.corrects,
        "version_id": said.version_id,
    }
    return view(row, {"id": said.id, **about})


def view(row: RecallNotice, erratum: View | None = None) -> View:
    """A recall as its holder sees it; the pseudonym is empty once a destroyed person's rows are attested destroyed."""
    return {
        "id": row.id, "pseudonym": row.pseudonym, "source": row.source,
        "state": row.state, "ground": row.ground,
        "until": row.frozen_until, "at": row.at, "due_at": row.due_at, "overdue": row.overdue_at is not None,
        "attested_at": row.attested_at, "receipt": row.withdrawal_id or row.erratum_id,
        "why": "withdrawal" if row.withdrawal_id else "erratum", "erratum": erratum,
    }  # fmt: skip


def what_to_delete_by(session: Session, extract: Extract) -> View:
    """The columns that hold pseudonyms, by table; and how tables without one reach their person."""
    permit = session.get_one(Permit, extract.permit_id)
    plan = Plan.model_validate(permit.plan)
    dictionary = Dictionary.model_validate(session.get_one(DatasetVersion, extract.version_id).dictionary)
    columns = [
        {"table": table.name, "column": column.name}
        for table in plan.tables
        for column in table.columns
        if column.transform == "pseudonymise"
    ]
    through = []
    for planned in plan.tables:
        table = dictionary.table(planned.name)
        if table.participant_via is not None:
            parent, _, key = table.participant_via.partition(".")
            through.append(
                {
                    "table": table.name,
                    "column": table.via_column or key,
                    "parent": parent,
                    "parent_column": key,
                }
            )
    return {"columns": columns, "through": through}


def parts(session: Session, extract_id: str) -> View:
    """The parts of now, and those whose place they took."""
    held = listed(session, extract_id, ("ready", "blocked", "replaced"))
    brief = ("table", "name", "sha256", "rows", "bytes")
    gone = ("table", "name", "state", "successor", "receipt")
    return {
        "parts": [{k: p[k] for k in brief} for p in held if p["state"] == "ready"],
        "gone": [{k: p[k] for k in gone} for p in held if p["state"] != "ready"],
    }
