"""Freeze and thaw: rows that every byte, token, build and count looks at; the caller writes the lines of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app.auth import policy
from app.auth.policy import Actor, Target, TargetFacts
from app.db import new_id
from app.incidents import queries, targets
from app.jobs import order
from app.models import Freeze, Incident


def freeze(
    session: Session, row: Incident, asked: Iterable[Target], actor: Actor, now: datetime
) -> list[Target]:
    """Freeze what this incident does not hold frozen yet; which these are."""
    held = {Target(one.kind, one.subject) for one in queries.freezes(session, row.id, standing=True)}
    new = sorted(set(asked) - held)
    for one in new:
        session.add(
            Freeze(
                id=new_id("frz"), incident_id=row.id, kind=one.kind, subject=one.subject, set_at=now,
                set_by=actor.subject, lifted_at=None, lifted_by=None,
            )
        )  # fmt: skip
    session.flush()
    return new


def thaw(
    session: Session, row: Incident, actor: Actor, now: datetime, asked: Sequence[Target] | None = None
) -> list[Target]:
    """Lift this incident's freezes of these, of all where none is named; which. A Problem where one of them is not the
    actor's to thaw. Another incident's freeze of the same thing stands. Parts that withdrawals closed meanwhile are
    then built anew."""
    lifted = []
    for one in queries.freezes(session, row.id, standing=True):
        target = Target(one.kind, one.subject)
        if asked is None or target in asked:
            policy.must_thaw_target(actor, targets.facts_of(session, target) or TargetFacts(one.kind))
            one.lifted_at, one.lifted_by = now, actor.subject
            lifted.append(target)
    session.flush()
    if lifted:
        for extract_id in queries.left_behind(session):
            order(session, "reissue_extract", extract_id, now)
    return lifted
