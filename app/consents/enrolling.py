"""Who the people of a load are: known by their identity or new, each with a key, found by the database in one join.

The caller has locked the cohort, so that nobody else enrols people of it meanwhile.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    column,
    false,
    func,
    insert,
    literal,
    literal_column,
    not_,
    or_,
    select,
    table,
    true,
    update,
)

from app.consents.staging import PEOPLE, PERSONS, settle
from app.models import Participant, PersonChange


def enrol(connection: Connection, cohort_id: str, at: datetime) -> None:
    """Make participants of staged people whom the cohort does not know; `load_persons` holds everyone afterwards.

    New keys are given in the order of the identities, which is random: a key tells nothing of the file's order. Keys
    are 32 bits and a drawn one is never used again, so those who are known draw none.
    """
    people, held = PEOPLE.c, Participant
    same = and_(held.cohort_id == cohort_id, held.identity == people.identity)
    met = (
        select(
            *(people[name] for name in ("n", "identity", "random_id", "return_token")),
            held.key.label("key"),
            func.coalesce(people.linkage, held.linkage).label("linkage"),
            func.coalesce(people.may_link, held.may_link, false()).label("may_link"),
            func.coalesce(people.deceased, held.deceased, false()).label("deceased"),
            _says_more().label("says_more"),
            _parts().label("parts"),
        )
        .select_from(PEOPLE.outerjoin(held, same))
        .order_by(held.key.is_not(None), people.identity)
        .subquery()
    )
    row = met.c
    picked = {
        "n": row.n, "identity": row.identity, "random_id": row.random_id, "return_token": row.return_token,
        "linkage": row.linkage, "may_link": row.may_link, "deceased": row.deceased, "says_more": row.says_more,
        "parts": row.parts, "is_new": row.key.is_(None),
        "participant_key": func.coalesce(row.key, _drawn(connection, row.key, row.identity)),
    }  # fmt: skip
    connection.execute(insert(PERSONS).from_select(list(picked), select(*picked.values())))
    settle(connection, PERSONS.c.n, PERSONS.c.participant_key)
    given = PERSONS.c
    fresh = {
        "key": given.participant_key, "cohort_id": literal(cohort_id), "identity": given.identity,
        "random_id": given.random_id, "return_token": given.return_token, "linkage": given.linkage,
        "may_link": given.may_link, "deceased": given.deceased,
        "created_at": literal(at, Participant.created_at.type),
    }  # fmt: skip
    rows = select(*fresh.values()).where(given.is_new)
    connection.execute(insert(Participant).from_select(list(fresh), rows))


def unlinking(connection: Connection) -> list[int]:
    """The keys of known people who allowed linkage under a token and do not any more, or bring another token."""
    person = PERSONS.c
    query = select(person.participant_key).where(person.parts).order_by(person.participant_key)
    return list(connection.scalars(query))


def telling(connection: Connection) -> int:
    """Of how many people a load says as a whole what was not known."""
    return connection.scalar(select(func.count()).where(PERSONS.c.says_more)) or 0


def write(connection: Connection, epoch: int, at: datetime) -> None:
    """Write what is said of people as a whole, with its history."""
    person, held = PERSONS.c, Participant
    when = literal(at, PersonChange.at.type)
    said = select(person.participant_key, person.may_link, person.deceased, literal(epoch), when)
    told = said.where(person.says_more).order_by(person.participant_key)
    names = ["participant_key", "may_link", "deceased", "epoch", "at"]
    connection.execute(insert(PersonChange).from_select(names, told))
    values = {"may_link": person.may_link, "deceased": person.deceased, "linkage": person.linkage}
    changes = and_(person.participant_key == held.key, person.says_more, not_(person.is_new))
    connection.execute(update(held).values(values).where(changes))


def _drawn(connection: Connection, known: ColumnElement[Any], identity: ColumnElement[Any]) -> Any:
    """The next key, in the words of the database; SQLite has one writer, and AUTOINCREMENT remembers the last."""
    if connection.dialect.name == "postgresql":
        # Its name is asked for once: in the statement it would be looked up for each row.
        name = connection.scalar(select(func.pg_get_serial_sequence(Participant.__tablename__, "key")))
        return func.nextval(literal_column("'" + str(name).replace("'", "''") + "'::regclass"))
    given = table("sqlite_sequence", column("name"), column("seq"))
    last = select(func.coalesce(func.max(given.c.seq), 0)).where(given.c.name == Participant.__tablename__)
    nth = func.row_number().over(partition_by=known.is_(None), order_by=identity)
    return last.scalar_subquery() + nth


def _says_more() -> ColumnElement[bool]:
    """Whether a line says of a person what was not known; of a new one, anything but what is taken for granted."""
    people, plain = PEOPLE.c, false()
    held = (Participant.may_link, Participant.deceased, Participant.linkage)
    said = (people.may_link, people.deceased, people.linkage)
    return case(
        (Participant.key.is_(None), or_(func.coalesce(people.may_link, plain), func.coalesce(people.deceased, plain),
                                        people.linkage.is_not(None))),
        else_=or_(
            *(and_(one.is_not(None), one.is_distinct_from(was)) for one, was in zip(said, held, strict=True))
        ),
    )  # fmt: skip


def _parts() -> ColumnElement[bool]:
    """Whether somebody known may be linked no more by the token they had."""
    people = PEOPLE.c
    other = and_(people.linkage.is_not(None), people.linkage.is_distinct_from(Participant.linkage))
    held = and_(Participant.may_link, Participant.linkage.is_not(None))
    return case((and_(held, or_(people.may_link.is_(False), other)), true()), else_=false())
