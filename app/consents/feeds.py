"""Whether the news that an institution promised of its consents have come, and how long they are overdue."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.errors import Problem
from app.models import Feed

KINDS = ("consents", "withdrawals")


def due_at(feed: Feed) -> datetime:
    """When the next news of a feed have to be here."""
    return feed.last_at + timedelta(days=feed.every_days)


def overdue_days(feed: Feed, now: datetime) -> float:
    """For how many days the feed is overdue; 0 where it is in time."""
    return max(0.0, (now - due_at(feed)) / timedelta(days=1))


def must_not_be_silent(session: Session, cohort_id: str, now: datetime, most_days: int) -> None:
    """Refuse where the cohort's withdrawal feed is overdue for more than `most_days` days; 0: never.

    Who has withdrawn meanwhile is not known then. A cohort that promised no feed is not judged.
    """
    feed = session.get(Feed, (cohort_id, "withdrawals")) if most_days else None
    if feed is not None and overdue_days(feed, now) > most_days:
        raise Problem(
            "feed_overdue", "Nothing new is released until the institution has reported its withdrawals."
        )
