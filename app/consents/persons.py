"""What is said of a person as a whole, one person at a time: whether and by what they are linked, and are alive."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.consents import epochs
from app.models import Cohort, Participant, PersonChange


def say(
    session: Session,
    cohort: Cohort,
    key: int,
    *,
    linkage: bytes | None,
    may_link: bool | None,
    deceased: bool | None,
    at: datetime,
    actor: str,
    moved: bool,
) -> bool:
    """Change what differs; None is nothing said. Whether anything changed: then the epoch moves, unless it `moved`.

    The caller has locked the cohort.
    """
    row = session.get_one(Participant, key, with_for_update=True, populate_existing=True)
    said = {"linkage": linkage, "may_link": may_link, "deceased": deceased}
    new = {name: value for name, value in said.items() if value is not None and value != getattr(row, name)}
    if not new:
        return False
    for name, value in new.items():
        setattr(row, name, value)
    epoch = cohort.epoch if moved else epochs.advance(cohort)
    session.add(
        PersonChange(participant_key=key, may_link=row.may_link, deceased=row.deceased, epoch=epoch, at=at)
    )
    session.flush()
    record(
        session, stream=institution_stream(cohort.institution_id), event="consent.person_changed", actor=actor,
        object_id=cohort.id, at=at, data={"items": sorted(new), "epoch": epoch},
    )  # fmt: skip
    return True


def unlinking(session: Session, key: int, linkage: bytes | None, may_link: bool | None) -> bool:
    """Whether this would take back that somebody may be linked by the token they brought; asked before it is said."""
    row = session.get_one(Participant, key, with_for_update=True, populate_existing=True)
    if not row.may_link or row.linkage is None:
        return False
    return may_link is False or (linkage is not None and linkage != row.linkage)
