"""The figures of the way to the million as they are shown: counted once a day, frozen in batches, remembered by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from prometheus_client import Gauge
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.catalog import counted, progress, queries
from app.catalog.projection import SURE, Projection, project
from app.clock import Clock
from app.db import Database
from app.models import ShownFigures
from app.settings import Settings

FIGURE = "consenting_people"
COUNTED = f"{FIGURE}_counted"  # the row of what was counted for it
_MOST_POINTS = 400  # of the history that is told

_PEOPLE = Gauge(
    "baekman_consenting_people", "Distinct consenting people as shown to the public; NaN: too few."
)
_TWICE = Gauge(
    "baekman_people_counted_twice", "People known in more than one cohort, as shown; NaN: too few."
)
_GOAL = Gauge("baekman_goal_people", "The number of people that the platform works towards.")
_PACE = Gauge(
    "baekman_consenting_people_per_day", "The usual pace of the last year; NaN: too little history."
)


@dataclass(frozen=True)
class Figures:
    """What is shown, to whoever asks; `tell` counts where the day has turned."""

    db: Database
    clock: Clock
    settings: Settings

    def tell(self) -> dict[str, Any]:
        """The figures of today with their history and projection, as `GET /v1/progress` answers them."""
        least, unit, goal = self.settings.min_cell, self.settings.round_to, self.settings.goal
        row = self._today()
        total, by_institution = progress.shown(row.people, least, unit)
        participations, twice = progress.twice(row.people, least, unit)
        with self.db.read() as session:
            names = queries.institution_names(session, list(by_institution))
            days = self._days(session)
        told = project(days, goal, self.settings.goal_date)
        self._measure(total, twice, told)
        return {
            "goal": goal, "goal_date": self.settings.goal_date, "people": total, "participations": participations,
            "counted_twice": twice,
            "institutions": [
                {"id": key, "name": names[key][0], "name_ko": names[key][1], "people": people}
                for key, people in by_institution.items()
            ],
            "history": [{"day": day, "people": people} for day, people in _thinned(days)],
            "projection": _told(told),
            "fewer_than": least, "rounded_to": unit, "as_of": row.at,
        }  # fmt: skip

    def _today(self) -> ShownFigures:
        """What is shown today. The first figures of a day stand until the next: nobody can watch a number move with
        what they do themselves. As long as nothing is shown it is counted each time."""
        today = self.clock().date()
        with self.db.read() as session:
            row = queries.shown_figures(session, FIGURE)
            if row is not None and row.people and row.basis == today.isoformat():
                return row
        try:
            return self._count()
        except IntegrityError:  # two first visitors at once: the other one's row is as good
            return self._count()

    def _count(self) -> ShownFigures:
        now = self.clock()
        today = now.date()
        with self.db.unit_of_work() as session:
            row = queries.shown_figures(session, FIGURE, lock=True)
            if row is None:
                row = ShownFigures(name=FIGURE, basis="", people={}, at=now)
                session.add(row)
            elif row.people and row.basis == today.isoformat():
                return row  # another visitor counted meanwhile
            before = {key: int(value) for key, value in row.people.items()}
            found = counted.consenting(session, today).parts()
            people = progress.in_batches(before, found, self.settings.min_cell)
            if people != before:
                row.people, row.at = people, now
            row.basis = today.isoformat()
            session.merge(ShownFigures(name=COUNTED, basis=row.basis, people=found, at=now))
            counted.keep_day(session, FIGURE, today, people, now)
            session.flush()
            return row

    def _days(self, session: Session) -> list[tuple[date, int]]:
        """The shown totals by day; days on which too few were shown say nothing."""
        least, unit = self.settings.min_cell, self.settings.round_to
        totals = (
            (day, progress.shown(parts, least, unit)[0]) for day, parts in counted.history(session, FIGURE)
        )
        return [(day, people) for day, people in totals if people]

    def _measure(self, total: int | None, twice: int | None, told: Projection) -> None:
        nothing = float("nan")
        _PEOPLE.set(nothing if total is None else total)
        _TWICE.set(nothing if twice is None else twice)
        _GOAL.set(self.settings.goal)
        _PACE.set(nothing if told.pace is None else told.pace.usual)


def _thinned(days: list[tuple[date, int]]) -> list[tuple[date, int]]:
    step = -(-len(days) // _MOST_POINTS) or 1
    return days[::-1][::step][::-1]


def _told(one: Projection) -> dict[str, Any] | None:
    if one.pace is None or one.expected is None:
        return None
    return {
        "per_day": round(one.pace.usual, 1), "per_day_low": round(one.pace.low, 1),
        "per_day_high": round(one.pace.high, 1), "people": one.expected[0], "people_low": one.expected[1],
        "people_high": one.expected[2], "reached": one.reached, "earliest": one.earliest, "latest": one.latest,
        "sure": SURE,
    }  # fmt: skip
