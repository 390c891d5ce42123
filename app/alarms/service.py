"""The verbs of alarms: see them, say that one is being looked at, close it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.alarms import queries
from app.alarms.raising import note as noted
from app.alarms.raising import show
from app.alarms.states import step
from app.auth import policy
from app.auth.policy import Actor, AlarmFacts
from app.clock import Clock
from app.db import Database
from app.errors import not_found
from app.models import Alarm, Feed

View = dict[str, Any]


@dataclass(frozen=True)
class AlarmService:
    """Alarms of an institution are seen by it and its stewards; those of the platform by it and the public stewards."""

    db: Database
    clock: Clock

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
