"""The SQL of the way to the million: who consents in cohorts that have something published, each person once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pyroaring import BitMap
from sqlalchemy import ColumnElement, Select, case, distinct, func, select
from sqlalchemy.orm import Session

from app.catalog.progress import ACROSS, WITHIN
from app.consents.queries import in_force
from app.models import Cohort, Consent, DailyFigures, Dataset, DatasetVersion, Participant


@dataclass(frozen=True, slots=True)
class Counted:
    """People by institution, each once in it; `within` are those counted again in other cohorts of one institution,
    `across` those counted again at other institutions. Known only of people who brought a linkage token."""

    by_institution: dict[str, int]
    within: int
    across: int

    def parts(self) -> dict[str, int]:
        """All of it as one mapping of numbers that move each by itself."""
        return {**self.by_institution, WITHIN: self.within, ACROSS: self.across}


def consenting(session: Session, on: date) -> Counted:
    """People with at least one domain of data granted on this day, in cohorts that have a published version; never more
    of a cohort than its largest published version holds.

    A linkage token says who is the same person, whether or not they agreed to have their data linked: it is counted by,
    nothing is joined.
    """
    # The largest, not the sum: datasets of a cohort, returned ones too, hold the same people, and nobody is told twice.
    held = (
        select(Dataset.cohort_id, func.max(DatasetVersion.people).label("people"))
        .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        .where(DatasetVersion.state == "published")
        .group_by(Dataset.cohort_id)
        .subquery()
    )
    granted = _granted(on).subquery()
    of_cohort = (
        select(
            granted.c.institution_id, granted.c.cohort_id, _people(granted.c).label("people"), held.c.people
        )
        .join(held, held.c.cohort_id == granted.c.cohort_id)
        .group_by(granted.c.institution_id, granted.c.cohort_id, held.c.people)
    )
    cohorts = [(row[0], row[1], int(row[2]), int(row[3])) for row in session.execute(of_cohort)]
    published = [cohort_id for _institution, cohort_id, _people, _most in cohorts]
    there = granted.c.cohort_id.in_(published)
    of_institution = (
        select(granted.c.institution_id, _people(granted.c)).where(there).group_by(granted.c.institution_id)
    )
    once = {row[0]: int(row[1]) for row in session.execute(of_institution)}
    everyone = session.scalar(select(_people(granted.c)).where(there)) or 0
    found: dict[str, int] = {}
    within = 0
    for institution_id, people in once.items():
        own = [(count, most) for one, _cohort, count, most in cohorts if one == institution_id]
        again = sum(count for count, _most in own) - people
        capped = [min(count, most) for count, most in own]
        found[institution_id] = _at_least(capped, again)
        within += sum(capped) - found[institution_id]
    again = sum(once.values()) - everyone
    return Counted(found, within, sum(found.values()) - _at_least(list(found.values()), again))


def keys(session: Session, on: date, domain: str) -> BitMap:
    """The participants behind `consenting` for a domain, before those who are one person are counted once."""
    granted = _granted(on).where(Consent.domain == domain).subquery()
    return BitMap(session.scalars(select(granted.c.key).distinct()))


def history(session: Session, name: str) -> list[tuple[date, dict[str, int]]]:
    """What was shown, by day: (day, parts)."""
    query = select(DailyFigures.day, DailyFigures.people).where(DailyFigures.name == name)
    rows = session.execute(query.order_by(DailyFigures.day))
    return [(row[0], {k: int(v) for k, v in row[1].items()}) for row in rows]


def keep_day(session: Session, name: str, day: date, people: dict[str, int], at: datetime) -> None:
    """Remember what is shown on a day; the first figures of a day stand."""
    row = session.get(DailyFigures, (name, day))
    if row is None:
        session.add(DailyFigures(name=name, day=day, people=people, at=at))
    elif not row.people:
        row.people, row.at = people, at
    session.flush()


def _granted(on: date) -> Select[*tuple[Any, ...]]:
    return (
        select(
            Cohort.institution_id, Participant.cohort_id, Participant.key, Participant.linkage,
        )
        .select_from(Consent)
        .join(Participant, Participant.key == Consent.participant_key)
        .join(Cohort, Cohort.id == Participant.cohort_id)
        .where(in_force(on), Consent.domain != "recontact")  # being reachable again is no use of data
    )  # fmt: skip


def _people(of: Any) -> ColumnElement[int]:
    """Distinct people among rows: by linkage where there is one, else each participant."""
    alone = case((of.linkage.is_(None), of.key), else_=None)
    return func.count(distinct(of.linkage)) + func.count(distinct(alone))


def _at_least(counts: list[int], again: int) -> int:
    """The people behind counts, of whom `again` may be counted more than once: known of the register, which holds more
    people than are counted. Each count has its people once, so they are as many as the largest."""
    return max(*counts, sum(counts) - again, 0)
