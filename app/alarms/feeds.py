"""What institutions promise to send and how often; the daily look whether it came, empty, shrunken or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.alarms import queries
from app.alarms.raising import Cause, raise_alarm, resolve, show
from app.audit import institution_stream, record
from app.auth import policy
from app.auth.policy import Actor, CohortFacts
from app.clock import Clock
from app.consents.feeds import overdue_days
from app.db import Database
from app.errors import Finding, Problem, not_found
from app.models import Cohort, Feed
from app.settings import Settings

View = dict[str, Any]


@dataclass(frozen=True)
class FeedService:
    """The verbs of feeds."""

    db: Database
    clock: Clock
    settings: Settings

    def declare(self, actor: Actor, cohort_id: str, kind: str, every_days: int, min_share: float) -> View:
        """Promise news of this kind every so many days; said again, the newer word holds.

        `min_share`: the least share of the people of the last register that the next one must name; 0: not judged.
        """
        now = self.clock()
        with self.db.unit_of_work() as session:
            cohort = _own(session, actor, cohort_id, lock=True)
            if kind == "withdrawals" and min_share:
                only = Finding("unknown_value", "is of registers of consents", pointer="/min_share")
                raise Problem("invalid_request", "Withdrawals have no least number.", [only])
            feed = session.get(Feed, (cohort.id, kind), with_for_update=True)
            if feed is None:
                seen, size = queries.head_of(session, cohort.institution_id), None
                size = queries.last_size(session, cohort) if kind == "consents" else None
                feed = Feed(
                    cohort_id=cohort.id, kind=kind, last_at=now, declared_at=now, seen=seen, size=size
                )
                session.add(feed)
            feed.every_days, feed.min_share = every_days, min_share
            session.flush()
            data = {"kind": kind, "every_days": every_days, "min_share": min_share}
            _note(session, cohort, "feed.declared", actor, now, data)
            return queries.feed_view(feed, now)

    def listed(self, actor: Actor, cohort_id: str) -> list[View]:
        """The feeds of a cohort and whether they are in time."""
        with self.db.read() as session:
            if (cohort := session.get(Cohort, cohort_id)) is None:
                raise not_found("cohort")
            policy.must_read_cohort(actor, CohortFacts(institution_id=cohort.institution_id))
            return [queries.feed_view(feed, self.clock()) for feed in queries.feeds_of(session, cohort_id)]

    def nothing_to_report(self, actor: Actor, cohort_id: str, kind: str) -> View:
        """The empty feed, said on purpose: nothing has happened since the last one."""
        now = self.clock()
        with self.db.unit_of_work() as session:
            cohort = _own(session, actor, cohort_id)
            feed = session.get(Feed, (cohort.id, kind), with_for_update=True)
            if feed is None:
                raise Problem("conflict", "Declare the feed first: how often it comes.")
            _note(session, cohort, queries.NOTHING, actor, now, {"kind": kind})
            self.look(session, cohort, feed, now)
            return queries.feed_view(feed, now)

    def check(self) -> int:
        """Look at every feed: raise what is missing, empty or shrunken, resolve what has come; alarms that are new."""
        now, raised = self.clock(), 0
        with self.db.read() as session:
            wanted = queries.every_feed(session)
        for cohort_id, kind in wanted:
            with self.db.unit_of_work() as session:
                feed = session.get_one(Feed, (cohort_id, kind), with_for_update=True)
                raised += self.look(session, session.get_one(Cohort, cohort_id), feed, now)
        with self.db.read() as session:
            show(session)
        return raised

    def look(self, session: Session, cohort: Cohort, feed: Feed, now: datetime) -> int:
        """Take in what has arrived of a feed that the caller has locked; how many alarms are new."""
        raised = 0
        for arrival in queries.arrivals(session, cohort, feed.kind, feed.seen):
            feed.seen, feed.last_at = arrival.number, max(feed.last_at, arrival.at)
            if feed.kind == "consents" and arrival.people is not None:
                raised += _weigh(session, cohort, feed, arrival.people, now)
        late = overdue_days(feed, now)
        if late > self.settings.feed_grace_days:
            data = {"every_days": feed.every_days, "last_at": feed.last_at.isoformat()}
            raised += raise_alarm(session, _cause("feed_missing", cohort, feed), data, now)
        else:
            resolve(session, "feed_missing", _subject(feed), now)
        if feed.kind == "consents":
            if queries.empty_register_since(session, cohort.id, feed.last_at):
                raised += raise_alarm(session, _cause("feed_empty", cohort, feed), {}, now)
            else:
                resolve(session, "feed_empty", _subject(feed), now)
        session.flush()
        return raised


def _weigh(session: Session, cohort: Cohort, feed: Feed, people: int, now: datetime) -> int:
    """A register against the last one that was large enough; one too small does not become the measure of the next."""
    if feed.size is not None and people < feed.min_share * feed.size:
        data = {"people": people, "before": feed.size, "min_share": feed.min_share}
        return int(raise_alarm(session, _cause("feed_shrunken", cohort, feed), data, now))
    feed.size = people
    resolve(session, "feed_shrunken", _subject(feed), now)
    return 0


def _own(session: Session, actor: Actor, cohort_id: str, *, lock: bool = False) -> Cohort:
    if (cohort := session.get(Cohort, cohort_id, with_for_update=lock)) is None:
        raise not_found("cohort")
    policy.must_change_consents(actor, CohortFacts(institution_id=cohort.institution_id))
    return cohort


def _subject(feed: Feed) -> str:
    return f"{feed.cohort_id}:{feed.kind}"


def _cause(kind: str, cohort: Cohort, feed: Feed) -> Cause:
    return Cause(kind, _subject(feed), institution_id=cohort.institution_id, cohort_id=cohort.id)


def _note(
    session: Session, cohort: Cohort, event: str, actor: Actor, now: datetime, data: dict[str, Any]
) -> None:
    stream = institution_stream(cohort.institution_id)
    record(session, stream=stream, event=event, actor=actor.subject, object_id=cohort.id, at=now, data=data)
