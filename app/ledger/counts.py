"""The ledger of masked counts: what was answered, to whom, over which people; refusals look at these answers only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyroaring import BitMap
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.db import new_id
from app.models import CountAnswer


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was asked: by whom, of which version."""

    asker: str
    institution_id: str | None
    version_id: str
    question_hash: str


def answered_before(session: Session, asked: Asked) -> dict[str, Any] | None:
    """The answer this asker had to the same question, so that repeating it tells nothing new."""
    query = select(CountAnswer).where(
        CountAnswer.asker == asked.asker, CountAnswer.question_hash == asked.question_hash
    )
    row = session.scalar(query)
    return dict(row.answer) if row else None


def answers_since(session: Session, asker: str, since: datetime) -> int:
    """How many answers the asker has had since a moment."""
    query = select(func.count()).where(CountAnswer.asker == asker, CountAnswer.at >= since)
    return session.scalar(query) or 0


def answers_to_institution_since(session: Session, institution_id: str, since: datetime) -> int:
    """How many answers all askers of an institution together have had since a moment."""
    query = select(func.count()).where(CountAnswer.institution_id == institution_id, CountAnswer.at >= since)
    return session.scalar(query) or 0


def too_close(
    session: Session,
    asked: Asked,
    members: BitMap,
    min_cell: int,
    related: Sequence[str],
    people: Callable[[BitMap], BitMap],
) -> bool:
    """Whether these people differ from those of an earlier answer to the asker, or to the asker's institution, by at
    least one and fewer than `min_cell`: the difference of the two answers would then speak of a few people.

    Earlier answers about the `related` versions count; `people` makes one of the keys of a linked person."""
    counted = people_counted(session, asked.asker, asked.institution_id, related)
    return any(0 < len(people(earlier) ^ members) < min_cell for earlier in counted)


def people_counted(
    session: Session, asker: str, institution_id: str | None, version_ids: Sequence[str]
) -> Iterator[BitMap]:
    """The people of every answer about these versions that the asker, or the asker's institution, has had."""
    own = CountAnswer.asker == asker
    whose = or_(own, CountAnswer.institution_id == institution_id) if institution_id else own
    query = select(CountAnswer.members).where(CountAnswer.version_id.in_(version_ids), whose)
    for members in session.scalars(query.execution_options(yield_per=100)):
        yield BitMap.deserialize(members)


def keep(session: Session, asked: Asked, members: BitMap, answer: dict[str, Any], at: datetime) -> None:
    """Remember an answer that is given now."""
    session.add(
        CountAnswer(
            id=new_id("cnt"),
            asker=asked.asker,
            institution_id=asked.institution_id,
            version_id=asked.version_id,
            question_hash=asked.question_hash,
            members=members.serialize(),
            answer=answer,
            at=at,
        )
    )
    session.flush()
