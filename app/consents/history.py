"""The register as of any moment: the newest change of each person and domain until then, judged by that day's dates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Select, String, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session

from app.consents.purposes import holds
from app.models import ConsentChange, Participant, PersonChange

Keys = npt.NDArray[np.int32]


def covered_as_of(
    session: Session, cohort_id: str, domain: str, purpose: Mapping[str, Any] | None, at: datetime
) -> Keys:
    """The sorted keys of the people whose consent to a domain covered a purpose at a moment. `purpose`: see `holds`."""
    now = _latest(cohort_id, at).subquery()
    query = select(now.c.participant_key, cast(now.c.purposes, String)).where(
        now.c.nth == 1, now.c.domain == domain, _stood(now.c, at.date()) == "granted"
    )
    answers: dict[str, bool] = {}
    keys = []
    for key, purposes in session.execute(query.execution_options(yield_per=50_000)):
        if purposes not in answers:
            answers[purposes] = holds(json.loads(purposes or "[]"), purpose)
        if answers[purposes]:
            keys.append(key)
    return np.sort(np.array(keys, dtype=np.int32))


def counts_as_of(session: Session, cohort_id: str, at: datetime) -> list[tuple[str, str, int]]:
    """(domain, state, people) at a moment, by domain and state."""
    now = _latest(cohort_id, at).subquery()
    state = _stood(now.c, at.date()).label("state")
    rows = select(now.c.domain, state).where(now.c.nth == 1).subquery()
    query = select(rows.c.domain, rows.c.state, func.count()).group_by(rows.c.domain, rows.c.state)
    found = session.execute(query.order_by(rows.c.domain, rows.c.state))
    return [(row[0], row[1], int(row[2])) for row in found]


def of_person(session: Session, cohort_id: str, key: int, at: datetime) -> Iterator[dict[str, Any]]:
    """What one person had said of each domain at a moment, by domain, with the state it had on that day."""
    now = _latest(cohort_id, at, key).subquery()
    state = _stood(now.c, at.date()).label("stood")
    for row in session.execute(select(now, state).where(now.c.nth == 1).order_by(now.c.domain)).mappings():
        yield {
            "domain": row["domain"], "state": row["stood"], "purposes": list(row["purposes"]),
            "form_version": row["form_version"], "language": row["language"], "given_at": row["given_at"],
            "valid_until": row["valid_until"], "by_proxy": row["by_proxy"], "assent": row["assent"],
            "adult_due": row["adult_due"], "withdrawal": row["kind"], "since": row["at"],
        }  # fmt: skip


def person_as_of(session: Session, key: int, at: datetime) -> tuple[bool, bool]:
    """(may be linked, deceased) as was known at a moment; nothing said is no."""
    query = (
        select(PersonChange.may_link, PersonChange.deceased)
        .where(PersonChange.participant_key == key, PersonChange.at <= at)
        .order_by(PersonChange.id.desc())
        .limit(1)
    )
    row = session.execute(query).first()
    return (row[0], row[1]) if row else (False, False)


def _latest(cohort_id: str, at: datetime, key: int | None = None) -> Select[*tuple[Any, ...]]:
    """Changes until a moment; `nth` is 1 for the newest of each person and domain."""
    nth = func.row_number().over(
        partition_by=(ConsentChange.participant_key, ConsentChange.domain), order_by=ConsentChange.id.desc()
    )
    query = (
        select(ConsentChange, nth.label("nth"))
        .join(Participant, Participant.key == ConsentChange.participant_key)
        .where(Participant.cohort_id == cohort_id, ConsentChange.at <= at)
    )
    return query if key is None else query.where(ConsentChange.participant_key == key)


def _stood(now: Any, on: date) -> ColumnElement[str]:
    """The state on a day: dates count on their day, whether or not a chore has written the new state by then."""
    held = now.state.in_(("granted", "reconsent_due"))
    return case(
        (and_(held, now.valid_until < on), "ended"),
        (and_(now.state == "granted", or_(now.adult_due.is_(None), now.adult_due > on)), "granted"),
        (held, "reconsent_due"),
        else_=now.state,
    )
