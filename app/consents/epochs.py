"""The consent epoch of a cohort: one number that moves with every change of its register."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Cohort


def lock(session: Session, cohort_id: str) -> Cohort:
    """The cohort, read again and locked until the transaction ends: nobody changes its register meanwhile."""
    query = select(Cohort).where(Cohort.id == cohort_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def advance(cohort: Cohort) -> int:
    """The next epoch of a cohort that the caller has locked."""
    cohort.epoch += 1
    return cohort.epoch
