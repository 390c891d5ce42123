"""What a load changes, found and written by the database itself: rows are compared and copied there, never fetched.

The rules of a line against what is held, the same as `held_back` says of one:
- what is the same changes nothing; withdrawn is withdrawn, unless destruction is asked for now;
- nobody is brought back by a word that is not later than their withdrawal;
- what others said for a minor is replaced only by a word given after the day on which the adult has to be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    String,
    and_,
    case,
    cast,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from app.consents.staging import CHANGES, LINES, PEOPLE, SAID, settle
from app.consents.states import HOLDING, verb_of
from app.models import Consent, ConsentChange, Participant, PersonChange
from app.schemas.register import NARROWED

_TOLD = 20  # line numbers told of one reason
WITHDRAWN_SINCE, RECONSENT_NEEDED = "withdrawn_since", "reconsent_needed"


@dataclass
class Found:
    """What a load would change: statements and people; and by reason the lines that must not, with how many."""

    statements: int = 0
    people: int = 0
    held: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.statements or self.people)


def held_back(
    *, was: str | None, since: date | None, due: date | None, given_at: date | None, by_proxy: bool
) -> str | None:
    """Why a line that grants may not replace what is held; None where it may. `since`: the day of the withdrawal;
    `due`: from when on the adult has to be asked."""
    if was == "withdrawn" and (given_at is None or since is None or given_at <= since):
        return WITHDRAWN_SINCE
    if was in HOLDING and due is not None and not by_proxy and (given_at is None or given_at < due):
        return RECONSENT_NEEDED
    return None


def enrol(connection: Connection, cohort_id: str, at: datetime) -> None:
    """Make participants of staged people whom the cohort does not know, and write everyone's key beside them.

    New keys are given in the order of the identities, which is random: a key tells nothing of the file's order.
    """
    known = select(Participant.key).where(
        Participant.cohort_id == cohort_id, Participant.identity == PEOPLE.c.identity
    )
    key, unknown = known.scalar_subquery(), PEOPLE.c.participant_key.is_(None)
    connection.execute(update(PEOPLE).values(participant_key=key, is_new=false()))
    # Those who are known are passed over before a key is drawn: keys are 32 bits, and a drawn one is never used again.
    given = {
        "cohort_id": literal(cohort_id), "identity": PEOPLE.c.identity, "random_id": PEOPLE.c.random_id,
        "return_token": PEOPLE.c.return_token, "linkage": PEOPLE.c.linkage,
        "may_link": func.coalesce(PEOPLE.c.may_link, false()), "deceased": func.coalesce(PEOPLE.c.deceased, false()),
        "created_at": literal(at, Participant.created_at.type),
    }  # fmt: skip
    fresh = select(*given.values()).where(unknown).order_by(PEOPLE.c.identity)
    into = _insert(connection, Participant).from_select(list(given), fresh)
    connection.execute(into.on_conflict_do_nothing(index_elements=["cohort_id", "identity"]))
    connection.execute(update(PEOPLE).where(unknown).values(participant_key=key, is_new=true()))
    settle(connection, PEOPLE)


def find(connection: Connection) -> Found:
    """Compare the staged lines with the register; what differs is in `load_changes` afterwards."""
    held, line, consent = LINES.join(PEOPLE, PEOPLE.c.n == LINES.c.n), LINES.c, Consent
    joined = held.outerjoin(
        Consent, and_(consent.participant_key == PEOPLE.c.participant_key, consent.domain == line.domain)
    )
    rows = (
        select(
            line.line,
            PEOPLE.c.participant_key,
            line.domain,
            *(line[name] for name in SAID),
            consent.state,
            _held(),
            _narrows(),
        )
        .select_from(joined)
        .where(or_(consent.state.is_(None), _differs()))
    )
    connection.execute(insert(CHANGES).from_select([column.name for column in CHANGES.c], rows))
    settle(connection, CHANGES)
    found = Found(people=_count(connection, _people()))
    found.statements = _count(connection, select(CHANGES.c.line).where(CHANGES.c.held.is_(None)))
    for (reason,) in connection.execute(
        select(CHANGES.c.held).where(CHANGES.c.held.is_not(None)).distinct().order_by(CHANGES.c.held)
    ).all():
        of = select(CHANGES.c.line).where(CHANGES.c.held == reason).distinct()
        lines = connection.scalars(of.order_by(CHANGES.c.line).limit(_TOLD)).all()
        found.held[reason] = (_count(connection, of), tuple(lines))
    _follow_the_table(connection)
    return found


def write(connection: Connection, cohort_id: str, epoch: int, at: datetime) -> None:
    """Write what was found, with its history."""
    when, now = literal(at, Consent.changed_at.type), CHANGES.c
    allowed = now.held.is_(None)
    names = ["participant_key", "domain", *SAID]
    picked = [now[name] for name in names]
    history = select(*picked, literal(epoch), when).where(allowed).order_by(now.participant_key, now.domain)
    connection.execute(insert(ConsentChange).from_select([*names, "epoch", "at"], history))
    rows = select(*picked, literal(cohort_id), when).where(allowed)
    into = _insert(connection, Consent).from_select([*names, "cohort_id", "changed_at"], rows)
    fresh = {name: into.excluded[name] for name in (*SAID, "changed_at")}
    connection.execute(into.on_conflict_do_update(index_elements=["participant_key", "domain"], set_=fresh))
    people = _people().subquery()
    told = select(people.c.key, people.c.may_link, people.c.deceased, literal(epoch), when).order_by(
        people.c.key
    )
    into = insert(PersonChange).from_select(["participant_key", "may_link", "deceased", "epoch", "at"], told)
    connection.execute(into)
    connection.execute(
        update(Participant)
        .values(
            may_link=func.coalesce(PEOPLE.c.may_link, Participant.may_link),
            deceased=func.coalesce(PEOPLE.c.deceased, Participant.deceased),
            linkage=func.coalesce(PEOPLE.c.linkage, Participant.linkage),
        )
        .where(PEOPLE.c.participant_key == Participant.key, not_(PEOPLE.c.is_new), _says_more())
    )


def unlinking(connection: Connection) -> list[int]:
    """The keys of known people who allowed linkage under a token and do not any more, or bring another token; asked
    before anything is written."""
    people, apart = PEOPLE.c, PEOPLE.c.may_link.is_(False)
    other = and_(people.linkage.is_not(None), people.linkage.is_distinct_from(Participant.linkage))
    query = (
        select(Participant.key)
        .join(PEOPLE, people.participant_key == Participant.key)
        .where(Participant.may_link, Participant.linkage.is_not(None), or_(apart, other))
    )
    return list(connection.scalars(query.order_by(Participant.key)))


def withdrawn(connection: Connection) -> Iterator[tuple[str, int, list[str]]]:
    """(kind, key, domains) of people whom copies may hold and who have withdrawn or narrowed their purposes, by kind
    and key; NARROWED is the kind of the latter."""
    now = CHANGES.c
    kind_of = case((now.narrows, NARROWED), else_=now.kind).label("kind_of")
    gone = and_(now.state == "withdrawn", or_(now.was.in_(HOLDING), now.kind == "destroy"))
    query = (
        select(kind_of, now.participant_key, now.domain)
        .where(now.held.is_(None), or_(gone, now.narrows))
        .order_by(kind_of, now.participant_key, now.domain)
    )
    last: tuple[str, int] | None = None
    domains: list[str] = []
    for kind, key, domain in connection.execute(query.execution_options(yield_per=5_000)):
        if (kind, key) != last:
            if last is not None:
                yield (*last, domains)
            last, domains = (kind, key), []
        domains.append(domain)
    if last is not None:
        yield (*last, domains)


def _differs() -> ColumnElement[bool]:
    line, consent = LINES.c, Consent
    more = and_(line.kind == "destroy", consent.kind != "destroy")
    said = or_(
        *(
            line[name].is_distinct_from(getattr(consent, name))
            for name in SAID
            if name not in ("state", "kind")
        )
    )
    return case(
        (and_(line.state == "withdrawn", consent.state == "withdrawn"), more),
        (line.state == "withdrawn", true()),
        (consent.state == "withdrawn", true()),
        else_=said,
    )


def _narrows() -> ColumnElement[bool]:
    """Whether a line names purposes, other than before, of what copies may rest on. Whether their own purpose is
    among them is judged extract by extract, so that a widened one does no harm here."""
    line, consent = LINES.c, Consent
    named = and_(
        line.state == "granted",
        consent.state.in_(HOLDING),
        line.purposes.is_distinct_from(consent.purposes),
        cast(line.purposes, String) != "[]",
    )
    return func.coalesce(named, false())


def _held() -> ColumnElement[str]:
    """`held_back` as SQL."""
    line, consent = LINES.c, Consent
    later = and_(line.given_at.is_not(None), consent.given_at.is_not(None), line.given_at > consent.given_at)
    grown = and_(line.given_at.is_not(None), line.given_at >= consent.adult_due)
    return case(
        (line.state == "withdrawn", None),
        (and_(consent.state == "withdrawn", not_(later)), WITHDRAWN_SINCE),
        (
            and_(
                consent.state.in_(HOLDING), consent.adult_due.is_not(None), not_(line.by_proxy), not_(grown)
            ),
            RECONSENT_NEEDED,
        ),
    )


def _says_more() -> ColumnElement[bool]:
    """Whether a line says of a person what was not known; of a new one, anything but what is taken for granted."""
    people, plain = PEOPLE.c, false()
    held = (Participant.may_link, Participant.deceased, Participant.linkage)
    said = (people.may_link, people.deceased, people.linkage)
    return case(
        (people.is_new, or_(func.coalesce(people.may_link, plain), func.coalesce(people.deceased, plain),
                            people.linkage.is_not(None))),
        else_=or_(
            *(and_(one.is_not(None), one.is_distinct_from(was)) for one, was in zip(said, held, strict=True))
        ),
    )  # fmt: skip


def _people() -> Select[int, bool, bool]:
    joined: FromClause = PEOPLE.join(Participant, Participant.key == PEOPLE.c.participant_key)
    return (
        select(
            Participant.key,
            func.coalesce(PEOPLE.c.may_link, Participant.may_link).label("may_link"),
            func.coalesce(PEOPLE.c.deceased, Participant.deceased).label("deceased"),
        )
        .select_from(joined)
        .where(_says_more())
    )


def _follow_the_table(connection: Connection) -> None:
    """Nothing is written that the table of transitions does not know: there are few pairs of states."""
    now = CHANGES.c
    pairs = select(now.was, now.state, now.kind).where(now.held.is_(None)).distinct()
    for was, state, kind in connection.execute(pairs).all():
        if verb_of(was, state, kind) is None:
            raise ValueError("a change that the table of transitions does not know")


def _count(connection: Connection, query: Select[*tuple[Any, ...]]) -> int:
    return connection.scalar(select(func.count()).select_from(query.subquery())) or 0


def _insert(connection: Connection, table: Any) -> Any:
    """An insert that knows ON CONFLICT, in the words of the database."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
