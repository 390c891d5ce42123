"""What becomes of promised feeds and of alarms when an institution leaves or goes over into another."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.alarms import queries
from app.alarms.feeds import FeedService
from app.alarms.raising import note
from app.alarms.states import LIVE, step
from app.consents.custody import Leaving, Merging
from app.models import Alarm, Cohort


def end(session: Session, leaving: Leaving) -> dict[str, int]:
    """Nobody waits for news of a cohort that has ended: its feeds go, and the alarms of their silence are over."""
    feeds = [feed for one in leaving.cohorts for feed in queries.feeds_of(session, one)]
    for feed in feeds:
        session.delete(feed)
    living = select(Alarm).where(Alarm.cohort_id.in_(leaving.cohorts), Alarm.state.in_(LIVE))
    for row in session.scalars(living.order_by(Alarm.id).with_for_update()):
        if row.kind.startswith("feed_"):
            row.state, row.closed_by, row.closed_at = step(row.state, "resolve"), "platform", leaving.at
            note(session, row, "alarm.resolved", "platform", leaving.at, {"departure": leaving.departure_id})
    session.flush()
    return {"feeds": len(feeds)}


@dataclass(frozen=True)
class Moving:
    """Called before the cohorts go over: what has arrived until then stands in the old institution's chain."""

    feeds: FeedService

    def __call__(self, session: Session, merging: Merging) -> dict[str, int]:
        """The rhythms stay as they were promised, and are read off the successor's chain from here on; alarms are the
        successor's to look into."""
        count = 0
        for cohort_id in merging.cohorts:
            cohort = session.get_one(Cohort, cohort_id)
            for feed in queries.feeds_of(session, cohort_id):
                self.feeds.look(session, cohort, feed, merging.at)
                feed.seen = queries.head_of(session, merging.successor_id)
                count += 1
        session.flush()
        change = update(Alarm).where(Alarm.institution_id == merging.institution_id)
        session.execute(
            change.values(institution_id=merging.successor_id).execution_options(synchronize_session="fetch")
        )
        return {"feeds": count}
