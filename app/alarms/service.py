"""The verbs of alarms: see them, say that one is being looked at, close it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy.orm import Session

from app.alarms import queries
from app.alarms.raising import Cause, raise_alarm, resolve, show
from app.alarms.raising import note as noted
from app.alarms.states import step
from app.audit import PLATFORM, record
from app.auth import policy
from app.auth.policy import Actor, AlarmFacts
from app.clock import Clock
from app.db import Database
from app.errors import not_found
from app.jobs import enqueue
from app.models import Alarm, Feed

View = dict[str, Any]
READABLE, COUNTED = "withdrawn_readable", "withdrawn_counted"
EVERY = timedelta(hours=20)


class Leaking(Protocol):
    """An extract that still gives rows of people who left."""

    @property
    def extract_id(self) -> str:
        """Which."""

    @property
    def parts(self) -> int:
        """In how many of its parts."""

    @property
    def people(self) -> int:
        """How many people."""


class Watched(Protocol):
    """What a look found; extracts are looked at by their own room."""

    @property
    def extracts(self) -> int:
        """How many extracts were looked at."""

    @property
    def parts(self) -> int:
        """How many parts."""

    @property
    def people(self) -> int:
        """How many people who left were looked for, once an extract."""

    @property
    def leaks(self) -> Sequence[Leaking]:
        """Where somebody was found."""


class Due(Protocol):
    """Something that should have been done by now."""

    @property
    def subject(self) -> str:
        """What it is about."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Counts and times."""


class Sighted(Protocol):
    """People who left and whom a number or a way back still holds."""

    @property
    def way(self) -> str:
        """Which way: counts, dry_run, tracing, catalogue, progress."""

    @property
    def subject(self) -> str:
        """Of which version, extract or figure."""

    @property
    def people(self) -> int:
        """How many people."""


class Looked(Protocol):
    """What asking the other ways found."""

    @property
    def asked(self) -> Mapping[str, int]:
        """Way -> how often it was asked."""

    @property
    def seen(self) -> Sequence[Sighted]:
        """Where somebody was seen."""


@dataclass(frozen=True)
class AlarmService:
    """Alarms of an institution are seen by it and its stewards; those of the platform by it and the public stewards."""

    db: Database
    clock: Clock

    def monitor(self, look: Callable[[], Watched], ask: Callable[[], Iterable[Looked]] = tuple) -> int:
        """Once a day: let somebody `look` whether a person who left can still be read, and `ask` every other way
        whether it still holds one; write down that it was done, and raise an alarm of the highest level for each
        extract, version or figure where one is; how many."""
        with self.db.read() as session:
            last = queries.last_look(session)
        if last is not None and self.clock() - last < EVERY:
            return 0
        told, others = look(), list(ask())
        asked = {way: count for one in others for way, count in sorted(one.asked.items())}
        sightings = [sighting for one in others for sighting in one.seen]
        now = self.clock()
        with self.db.unit_of_work() as session:
            data = {
                "extracts": told.extracts, "parts": told.parts, "people": told.people,
                "leaks": len(told.leaks) + len(sightings), "asked": asked,
            }  # fmt: skip
            record(session, stream=PLATFORM, event=queries.LOOKED, actor="platform", object_id="monitor", at=now,
                   data=data)  # fmt: skip
            for leak in told.leaks:
                found = {"parts": leak.parts, "people": leak.people}
                raise_alarm(session, Cause(READABLE, leak.extract_id, "critical"), found, now)
            for one in sightings:
                cause = Cause(COUNTED, f"{one.way}:{one.subject}", "critical")
                raise_alarm(session, cause, {"way": one.way, "people": one.people}, now)
            show(session)
        return len(told.leaks) + len(sightings)

    def chase(self, kind: str, look: Callable[[], Sequence[Due]]) -> int:
        """Raise an alarm of the highest level for all that is overdue, and resolve those whose cause is gone; how many
        are new. They are the platform's and the public stewards'."""
        now, due = self.clock(), {one.subject: one for one in look()}
        with self.db.unit_of_work() as session:
            for row in queries.living(session, kind):
                if row.subject not in due:
                    resolve(session, kind, row.subject, now)
            new = sum(
                raise_alarm(session, Cause(kind, subject, "critical"), one.data, now)
                for subject, one in sorted(due.items())
            )
            show(session)
        return new

    def listed(
        self, actor: Actor, wanted: dict[str, str | None], after: str | None, limit: int
    ) -> list[View]:
        """Alarms, newest first; `wanted` holds the values of state, kind, level and cohort_id, None: any."""
        with self.db.read() as session:
            return [queries.alarm_view(row) for row in queries.alarms(session, actor, wanted, after, limit)]

    def acknowledge(self, actor: Actor, alarm_id: str, note: str) -> View:
        """Say that somebody looks into it."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = _locked(session, actor, alarm_id, policy.must_acknowledge_alarm)
            row.state, row.acknowledged_by, row.acknowledged_at = (
                step(row.state, "acknowledge"),
                actor.subject,
                now,
            )
            row.note = note
            noted(session, row, "alarm.acknowledged", actor.subject, now, {"note_length": len(note)})
            show(session)
            return queries.alarm_view(row)

    def close(self, actor: Actor, alarm_id: str, note: str) -> View:
        """A steward closes what was explained. While its cause lasts, the next look raises it anew; a register that
        was found too small is the measure of the next one from now on."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = _locked(session, actor, alarm_id, policy.must_close_alarm)
            row.state, row.closed_by, row.closed_at = step(row.state, "close"), actor.subject, now
            row.note = note
            if row.kind == "feed_shrunken" and row.cohort_id:
                session.get_one(Feed, (row.cohort_id, "consents"), with_for_update=True).size = row.data[
                    "people"
                ]
            if row.kind == READABLE:
                enqueue(session, "reopen_extract", subject=row.subject, at=now)
            noted(session, row, "alarm.closed", actor.subject, now, {"note_length": len(note)})
            show(session)
            return queries.alarm_view(row)


def _locked(
    session: Session, actor: Actor, alarm_id: str, must: Callable[[Actor, AlarmFacts], None]
) -> Alarm:
    if (row := session.get(Alarm, alarm_id, with_for_update=True)) is None:
        raise not_found("alarm")
    must(actor, AlarmFacts(institution_id=row.institution_id))
    return row
