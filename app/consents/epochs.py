"""The consent epoch of a cohort: one number that moves with every change of its register."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Cohort, Consent


def lock(session: Session, cohort_id: str) -> Cohort:
    """The cohort, read again and locked until the transaction ends: nobody changes its register meanwhile."""
    query = select(Cohort).where(Cohort.id == cohort_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def advance(cohort: Cohort) -> int:
    """The next epoch of a cohort that the caller has locked."""
    cohort.epoch += 1
    return cohort.epoch


def earliest_end(session: Session, cohort_ids: Sequence[str], after: date) -> date | None:
    """The first day after `after` on which a granted consent of the cohorts ends by its own date."""
    query = select(func.min(Consent.valid_until)).where(
        Consent.cohort_id.in_(cohort_ids), Consent.state == "granted", Consent.valid_until > after
    )
    return session.scalar(query)
