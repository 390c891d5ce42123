"""A withdrawal is carried on: blocked when every extract is told, destroying where asked for, closed at its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.clock import Clock
from app.db import Database
from app.jobs import JobContext, Task, enqueue
from app.ledger import telling
from app.models import BlockMark, Cohort, Extract, Part, RecallNotice, Withdrawal
from app.schemas.register import DESTROYING
from app.withdrawals.service import WithdrawalService
from app.withdrawals.states import step


@dataclass(frozen=True)
class Settling:
    """The job `settle_withdrawal`; run as often as anything has moved, it ends the same."""

    db: Database
    clock: Clock

    def settle(self, job: JobContext) -> None:
        """Write the receipt forward as far as it has come."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = session.get(Withdrawal, job.subject, with_for_update=True)
            if row is None or row.state == "closed":
                return
            query = select(BlockMark).where(BlockMark.withdrawal_id == row.id).order_by(BlockMark.extract_id)
            marks = list(session.scalars(query))
            if any(not mark.narrowed for mark in marks):
                return
            row.state = step(row.state, "block")
            row.receipt = {**row.receipt, **_blocked(session, row, now)}
            if row.kind in DESTROYING and row.state == "blocked":
                row.state = step(row.state, "destroy")
                enqueue(session, "destroy_rows", subject=row.cohort_id, at=now)
            left = [mark for mark in marks if mark.told_at is None and not self._told(session, mark, now)]
            if left or (row.kind in DESTROYING and "destroyed_at" not in row.receipt):
                return
            row.state, row.closed_at = step(row.state, "close"), now
            row.receipt = {**row.receipt, "reissued_at": row.receipt.get("reissued_at") or now.isoformat()}
            self._note(session, row, now)

    def _told(self, session: Session, mark: BlockMark, now: datetime) -> bool:
        """Tell it where the extract is without the person already, and no build had to come; whether it is."""
        extract = session.get_one(Extract, mark.extract_id)
        if not telling.is_without_them(session, extract):
            return False
        telling.tell(session, extract, [mark.withdrawal_id], now)
        return True

    def _note(self, session: Session, row: Withdrawal, now: datetime) -> None:
        cohort = session.get_one(Cohort, row.cohort_id)
        record(
            session, stream=institution_stream(cohort.institution_id), event="withdrawal.closed",
            actor="platform", object_id=row.id, at=now,
            data={"kind": row.kind, "domains": row.domains, "commitment": row.commitment, **row.receipt},
        )  # fmt: skip


def tasks(service: WithdrawalService) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    return {
        "take_withdrawals": service.take_from_register,
        "settle_withdrawal": Settling(service.db, service.clock).settle,
    }


def _blocked(session: Session, row: Withdrawal, now: datetime) -> dict[str, object]:
    """When every extract was told, how many parts were closed and how many holders have something to delete."""
    if "blocked_at" in row.receipt:
        return {}
    parts = select(func.count()).select_from(Part).where(Part.withdrawal_id == row.id)
    notices = select(func.count()).select_from(RecallNotice).where(RecallNotice.withdrawal_id == row.id)
    return {
        "blocked_at": now.isoformat(),
        "parts_closed": session.scalar(parts) or 0,
        "recalls": session.scalar(notices) or 0,
    }
