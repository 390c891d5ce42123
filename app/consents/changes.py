"""What a load changes, found and written by the database itself: rows are compared and copied there, never fetched.

The rules of a line against what is held, the same as `held_back` says of one:
- what is the same changes nothing; withdrawn is withdrawn, unless destruction is asked for now;
- nobody is brought back by a word that is not later than their withdrawal, nor by any before they are destroyed;
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

from app.consents import enrolling
from app.consents.enrolling import telling
from app.consents.staging import CHANGES, LINES, PERSONS, SAID, settle
from app.consents.states import HOLDING, verb_of
from app.models import Consent, ConsentChange
from app.schemas.register import NARROWED

_TOLD = 20  # line numbers told of one reason
WITHDRAWN_SINCE, RECONSENT_NEEDED, DESTRUCTION_ASKED = (
    "withdrawn_since",
    "reconsent_needed",
    "destruction_asked",
)


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
    *, was: str | None, kind: str, since: date | None, due: date | None, given_at: date | None, by_proxy: bool
) -> str | None:
    """Why a line that grants may not replace what is held; None where it may. `kind`, `since`: of the withdrawal, and
    its day; `due`: from when on the adult has to be asked."""
    if was == "withdrawn" and kind == "destroy":  # extracts would keep them as somebody who consents
        return DESTRUCTION_ASKED
    if was == "withdrawn" and (given_at is None or since is None or given_at <= since):
        return WITHDRAWN_SINCE
    if was in HOLDING and due is not None and not by_proxy and (given_at is None or given_at < due):
        return RECONSENT_NEEDED
    return None


def find(connection: Connection) -> Found:
    """Compare the staged lines with the register; what differs is in `load_changes` afterwards."""
    held, line, consent = LINES.join(PERSONS, PERSONS.c.n == LINES.c.n), LINES.c, Consent
    key = PERSONS.c.participant_key
    joined = held.outerjoin(Consent, and_(consent.participant_key == key, consent.domain == line.domain))
    rows = (
        select(
            line.line,
            key,
            line.domain,
            *(line[name] for name in SAID),
            consent.state,
            _held(),
            _narrows(),
        )
        .select_from(joined)
        .where(or_(consent.state.is_(None), _differs()))
        .order_by(key, line.domain)  # keys of an index come best in its order
    )
    connection.execute(insert(CHANGES).from_select([column.name for column in CHANGES.c], rows))
    settle(connection, CHANGES.c.participant_key)
    found = Found(people=telling(connection))
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
    """Write what was found, with its history. Nobody else writes the register of a cohort that is locked, so what was
    not there is not there."""
    when, now = literal(at, Consent.changed_at.type), CHANGES.c
    allowed, names = now.held.is_(None), ["participant_key", "domain", *SAID]
    picked = [now[name] for name in names]
    history = select(*picked, literal(epoch), when).where(allowed)
    connection.execute(insert(ConsentChange).from_select([*names, "epoch", "at"], history))
    rows = select(*picked, literal(cohort_id), when).where(allowed, now.was.is_(None))
    connection.execute(insert(Consent).from_select([*names, "cohort_id", "changed_at"], rows))
    same = and_(Consent.participant_key == now.participant_key, Consent.domain == now.domain)
    fresh = {name: now[name] for name in SAID} | {"changed_at": when}
    connection.execute(update(Consent).values(fresh).where(same, allowed, now.was.is_not(None)))
    enrolling.write(connection, epoch, at)


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
        (and_(consent.state == "withdrawn", consent.kind == "destroy"), DESTRUCTION_ASKED),
        (and_(consent.state == "withdrawn", not_(later)), WITHDRAWN_SINCE),
        (
            and_(
                consent.state.in_(HOLDING), consent.adult_due.is_not(None), not_(line.by_proxy), not_(grown)
            ),
            RECONSENT_NEEDED,
        ),
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
