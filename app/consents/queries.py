"""Who consents now: people as sorted keys, never as rows; and how many they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, String, and_, cast, func, or_, select
from sqlalchemy.orm import Session

from app.consents import laid
from app.consents.history import covered_as_of
from app.consents.purposes import holds
from app.models import Cohort, Consent

Keys = npt.NDArray[np.int32]
_BATCH = 5_000
_SAMPLE = 1_000  # rows, of which the usual lists of purposes are known
_SAID = cast(Consent.purposes, String)
_PEOPLE = laid.numbers(Consent.participant_key)


@dataclass(frozen=True, slots=True)
class People:
    """Numbers of distinct people whose consent is in force: over all, and per institution. Not masked."""

    total: int
    by_institution: Mapping[str, int]


def covered(
    session: Session,
    cohort_id: str,
    domain: str,
    purpose: Mapping[str, Any] | None,
    on: date,
    as_of: datetime | None = None,
) -> Keys:
    """The sorted keys of the people whose consent to a domain covers a purpose on a day. `purpose`: see `holds`.

    `valid_until` is the last day on which a consent is in force. With `as_of` the register is read as it was at that
    moment, from its history, and on that day: for audits, never for a release.
    """
    if as_of is not None:
        return covered_as_of(session, cohort_id, domain, purpose, as_of)
    here = and_(Consent.cohort_id == cohort_id, Consent.domain == domain, in_force(on))
    if session.get_bind().dialect.name == "sqlite":
        found = _by_usual_lists(session, here, purpose)
    else:
        found = _by_lists(session, here, purpose)
    return np.sort(np.concatenate([np.empty(0, dtype=np.int32), *found]))


def _by_lists(session: Session, here: ColumnElement[bool], purpose: Mapping[str, Any] | None) -> list[Keys]:
    """There are few different lists of purposes: each is judged once, and its people come as one text of keys."""
    query = select(_SAID, _PEOPLE).where(here).group_by(Consent.purposes)
    return [laid.as_numbers(people) for said, people in session.execute(query) if _covers(said, purpose)]


def _by_usual_lists(
    session: Session, here: ColumnElement[bool], purpose: Mapping[str, Any] | None
) -> list[Keys]:
    """The same where the database sorts all rows to group them, which costs as much as reading them: lists that are
    known from some of the rows are judged first, and the people of all that cover the purpose come as one text.

    It needs a transaction that sees one moment throughout, as each of SQLite does.
    """
    some = select(_SAID.label("said")).where(here).limit(_SAMPLE).subquery()
    known = {said: _covers(said, purpose) for said in session.scalars(select(some.c.said).distinct())}
    other = _SAID.not_in(known)
    covering = _PEOPLE.filter(_SAID.in_([said for said, covers in known.items() if covers]))
    people, others = session.execute(select(covering, func.count().filter(other)).where(here)).one()
    return [laid.as_numbers(people), *(_by_lists(session, and_(here, other), purpose) if others else ())]


def _covers(said: str, purpose: Mapping[str, Any] | None) -> bool:
    return holds(json.loads(said or "[]"), purpose)


def covered_of(
    session: Session,
    cohort_ids: Iterable[str],
    participant_keys: Sequence[int],
    domain: str,
    purpose: Mapping[str, Any] | None,
    on: date,
) -> set[int]:
    """What `covered` says of a few people, who need not be looked for among all others."""
    found = set[int]()
    for start in range(0, len(participant_keys), _BATCH):
        query = select(Consent.participant_key, Consent.purposes).where(
            Consent.participant_key.in_(participant_keys[start : start + _BATCH]),
            Consent.domain == domain,
            Consent.cohort_id.in_(sorted(cohort_ids)),
            in_force(on),
        )
        found |= {key for key, purposes in session.execute(query) if holds(purposes or [], purpose)}
    return found


def in_force(on: date) -> ColumnElement[bool]:
    """The condition that a consent is granted, has not ended by its own date, waits for no adult's own word, and is
    given to an institution that is still there.

    Dates count on their day, whether or not a chore has written the new state already.
    """
    return and_(
        Consent.state == "granted",
        or_(Consent.valid_until.is_(None), Consent.valid_until >= on),
        or_(Consent.adult_due.is_(None), Consent.adult_due > on),
        Consent.cohort_id.not_in(select(Cohort.id).where(Cohort.ended_at.is_not(None))),
    )


def counts(session: Session, on: date, cohort_ids: Iterable[str] | None = None) -> People:
    """How many distinct people consent to the use of anything, over these cohorts (default: all).

    A person who takes part in two cohorts counts in each: who is the same person is not known across cohorts.
    Being reachable again (recontact) is no use of data and does not count.
    """
    query = (
        select(Cohort.institution_id, func.count(Consent.participant_key.distinct()))
        .join(Cohort, Cohort.id == Consent.cohort_id)
        .where(in_force(on), Consent.domain != "recontact")
        .group_by(Cohort.institution_id)
    )
    if cohort_ids is not None:
        query = query.where(Consent.cohort_id.in_(sorted(set(cohort_ids))))
    by_institution = {row[0]: int(row[1]) for row in session.execute(query)}
    return People(sum(by_institution.values()), by_institution)
