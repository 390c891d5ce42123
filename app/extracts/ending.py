"""A cohort whose institution left, in one extract: every part closes, its holder is told what to delete; where others
hold people of it too, the next generation comes without."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.consents import linking
from app.consents.cohorts import behind
from app.db import new_id
from app.extracts import queries
from app.extracts.states import step
from app.jobs import enqueue
from app.ledger import telling
from app.ledger.marks import settle
from app.ledger.parts import block, listed
from app.models import BlockMark, Extract, RecallNotice, Withdrawal

OPEN = ("ready", "staged")


def recall_cohort(session: Session, extract_id: str, withdrawal_id: str, days: int, now: datetime) -> bool:
    """Close and tell, once; whether others hold people of the extract, so that a next generation is wanted."""
    row = queries.extract(session, extract_id, lock=True)
    telling.lock(session, [withdrawal_id])
    of = behind(session, queries.version_of(session, row))
    stays = bool(of.answering)
    mark = session.get(BlockMark, (extract_id, withdrawal_id))
    if mark is None or mark.narrowed:
        return stays
    places = [(part["table"], part["position"]) for part in listed(session, row.id, OPEN)]
    closed = block(session, row.id, places, mark.reason, withdrawal_id)
    settle(session, row.id, [withdrawal_id])
    if row.generation > 0:
        cohort_id = session.get_one(Withdrawal, withdrawal_id).cohort_id
        names = linking.names_of_sources(session, row.version_id)
        session.add(
            RecallNotice(
                id=new_id("rcl"), withdrawal_id=withdrawal_id, erratum_id=None, extract_id=row.id, pseudonym="",
                source=names.get(cohort_id), state="open", ground="", at=now, attested_at=None,
                due_at=now + timedelta(days=days), frozen_until=None, overdue_at=None,
            )
        )  # fmt: skip
        session.flush()
    record(
        session, stream=project_stream(row.project_id), event="part.blocked", actor="platform", object_id=row.id,
        at=now, data={"withdrawal": withdrawal_id, "parts_closed": len(closed)},
    )  # fmt: skip
    if not stays:
        _end(session, row, withdrawal_id, now)
    return stays


def _end(session: Session, row: Extract, withdrawal_id: str, now: datetime) -> None:
    """Nothing of it will ever be handed out again: its parts are destroyed now, not at the end of its time."""
    if row.state != "ready":
        return  # what is still being built meets a permit that has ended
    row.state = step(row.state, "expire")
    enqueue(session, "destroy_extract", subject=row.id, at=now)
    record(
        session, stream=project_stream(row.project_id), event="extract.expired", actor="platform", object_id=row.id,
        at=now, data={"withdrawal": withdrawal_id},
    )  # fmt: skip
