"""An institution leaves: everybody in its cohorts is withdrawn at once, by one withdrawal a cohort."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.audit import institution_stream, record
from app.consents.custody import Leaving, reaching
from app.jobs import enqueue
from app.models import Extract, Withdrawal
from app.schemas.register import DOMAINS, ENDED

REASON = "institution_left"


def end(session: Session, leaving: Leaving) -> dict[str, int]:
    """Close every extract that was made of the cohorts; jobs tell their holders, build united ones anew without them,
    and destroy what the cohorts hold."""
    closed: set[str] = set()
    for cohort_id in leaving.cohorts:
        query = select(Extract.id).where(Extract.version_id.in_(reaching([cohort_id])))
        extracts = list(session.scalars(query.order_by(Extract.id)))
        row = Withdrawal(
            id=leaving.withdrawals[cohort_id], cohort_id=cohort_id, participant_key=None, domains=list(DOMAINS),
            kind=ENDED, state="taken", receipt={}, taken_at=leaving.at, closed_at=None, commitment=None,
        )  # fmt: skip
        session.add(row)
        for extract_id in extracts:
            ledger.mark(session, extract_id, row.id, reason=REASON, at=leaving.at)
            arguments = {"withdrawal_id": row.id}
            enqueue(session, "recall_cohort", subject=extract_id, arguments=arguments, at=leaving.at)
        row.receipt = {"extracts_closed": len(extracts), "taken_at": leaving.at.isoformat()}
        session.flush()
        record(
            session, stream=institution_stream(leaving.institution_id), event="withdrawal.taken", actor="platform",
            object_id=row.id, at=leaving.at,
            data={"kind": ENDED, "domains": row.domains, "commitment": None, "departure": leaving.departure_id,
                  **row.receipt},
        )  # fmt: skip
        if not extracts:
            enqueue(session, "settle_withdrawal", subject=row.id, at=leaving.at)
        closed |= set(extracts)
    return {"extracts": len(closed)}
