"""The register changes whole or not at all: a file of consents, or one person's word; each change moves the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.consents import changes, enrolling, epochs
from app.consents.identities import Hasher
from app.consents.one_person import Statement, Writer, check
from app.consents.staging import staged
from app.consents.states import HOLDING
from app.errors import Finding, Problem
from app.keyring import Keyring
from app.models import Cohort, Consent, Participant
from app.schemas.register import DOMAINS, NARROWED, UNLINKED, USUAL_KIND

__all__ = [
    "DOMAINS", "Loaded", "Statement", "cohorts_due", "end", "end_again", "ended", "find", "granted", "hasher_of",
    "load", "narrow", "of_age", "purposes_of", "said_since", "set_consent", "withdraw", "withdraw_again",
    "withdrawn_on",
]  # fmt: skip

HELD_BACK = {
    changes.WITHDRAWN_SINCE: "lines would grant again what was withdrawn; they say nothing that was given later",
    changes.RECONSENT_NEEDED: "lines would replace what others said for a minor; the adult's own word has to be given "
    "on or after the day on which it is due",
    changes.DESTRUCTION_ASKED: "lines would grant again to somebody whose data are being destroyed; once they are "
    "gone, the same lines enrol a new participant",
}


@dataclass
class Loaded:
    """What loading a register did: counts, the lines that were held back, and how many have withdrawn."""

    lines: int = 0
    people: int = 0
    changed: int = 0
    epoch: int = 0
    withdrawn: int = 0
    held_back: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The counts; never a key."""
        return {
            "lines": self.lines, "people": self.people, "changed": self.changed, "epoch": self.epoch,
            "withdrawn": self.withdrawn, "held_back": sum(one.count or 0 for one in self.held_back),
        }  # fmt: skip


# Takes who has withdrawn, (kind, key, domains), as they are found; they are many where a cohort ends.
Withdrawals = Iterator[tuple[str, int, list[str]]]


def hasher_of(keyring: Keyring, cohort: Cohort) -> Hasher:
    """What turns source identifiers of a cohort into identities."""
    return Hasher(keyring.unwrap(cohort.identity_key_wrapped))


def find(session: Session, keyring: Keyring, cohort: Cohort, source: str) -> int | None:
    """The key of the person that the institution knows by this identifier; None where the cohort knows none."""
    identity = hasher_of(keyring, cohort).digest(source)
    query = select(Participant.key).where(
        Participant.cohort_id == cohort.id, Participant.identity == identity
    )
    return session.scalar(query)


def load(
    session: Session,
    cohort_id: str,
    people: Iterable[pa.RecordBatch],
    lines: Iterable[pa.RecordBatch],
    *,
    rows: int,
    at: datetime,
    actor: str,
    carry: Callable[[Withdrawals], int],
) -> Loaded:
    """Load what was read of a register (`schemas.register`): every line is applied or held back, in one transaction.

    Loading the same again changes nothing. People whom no line names keep what they said before; a participant whom
    the cohort does not know yet is enrolled. `rows` is how many lines were sent; `carry` is called once with who has
    withdrawn, and says how many they were.
    """
    cohort = epochs.lock(session, cohort_id)
    told = Loaded(lines=rows)
    with staged(session, _counted(people, told), lines) as connection:
        enrolling.enrol(connection, cohort_id, at)
        found = changes.find(connection)
        parted = enrolling.unlinking(connection) if found.people else []
        if found.any:
            epochs.advance(cohort)
            session.flush()
            changes.write(connection, cohort_id, cohort.epoch, at)
        told.changed, told.epoch = found.statements + found.people, cohort.epoch
        told.held_back = [
            Finding(reason, HELD_BACK[reason], lines=places, count=count)
            for reason, (count, places) in found.held.items()
        ]
        apart = ((UNLINKED, key, list(DOMAINS)) for key in parted)
        told.withdrawn = carry(chain(changes.withdrawn(connection), apart))
    record(
        session, stream=institution_stream(cohort.institution_id), event="consent.register_loaded", actor=actor,
        object_id=cohort_id, at=at, data=told.to_dict(),
    )  # fmt: skip
    session.expire_all()  # what was written beside the session must not be read from it as it was
    return told


def set_consent(
    session: Session,
    cohort_id: str,
    key: int,
    domains: Sequence[str],
    statement: Statement,
    *,
    at: datetime,
    actor: str,
) -> dict[str, list[str]]:
    """One person's word on some domains; by kind, the domains that copies may rest on and that are now withdrawn, or
    narrowed to other purposes (NARROWED).

    Problems: `invalid_request` with every finding, `conflict` where the word is not later than what it would undo.
    """
    cohort = epochs.lock(session, cohort_id)
    check(domains, statement, at.date())
    writer = Writer(session, cohort, at)
    if held := writer.apply({(key, domain): statement for domain in domains}):
        raise Problem("conflict", "The consent was not changed.", [
            Finding(reason, HELD_BACK[reason], count=count) for reason, count in sorted(held.items())
        ])  # fmt: skip
    if writer.count:
        record(
            session, stream=institution_stream(cohort.institution_id), event="consent.changed", actor=actor,
            object_id=cohort_id, at=at,
            data={"changed": writer.count, "state": statement.state, "epoch": cohort.epoch},
        )  # fmt: skip
    withdrawn = {statement.kind or USUAL_KIND: writer.withdrawn.get(key, [])}
    return {k: d for k, d in {**withdrawn, NARROWED: writer.narrowed.get(key, [])}.items() if d}


def withdraw(
    session: Session,
    cohort: Cohort,
    key: int,
    domains: Iterable[str],
    *,
    at: datetime,
    kind: str = USUAL_KIND,
) -> int:
    """Take back a person's consent for these domains, also where none was ever given: it stays a refusal.

    The caller has locked the cohort and takes the audit line; how many domains have changed.
    """
    writer = Writer(session, cohort, at)
    writer.apply({(key, domain): Statement("withdrawn", kind=kind) for domain in domains})
    return writer.count


def withdraw_again(
    session: Session,
    cohort: Cohort,
    key: int,
    domains: Iterable[str],
    *,
    said: datetime,
    day: date,
    at: datetime,
    kind: str,
) -> None:
    """`withdraw` by a word of a `day`, taken at the moment `said`, that a restored database has forgotten: it is of its
    own day, so that what was given since can be loaded again; what is held by a later word stays."""
    left = sorted(set(domains) - said_since(session, key, said))
    Writer(session, cohort, at).apply(
        {(key, domain): Statement("withdrawn", given_at=day, kind=kind) for domain in left}
    )
    # What was withdrawn before was given again in between, and that is not to come back.
    before = (Consent.participant_key == key, Consent.domain.in_(left), Consent.state == "withdrawn")
    session.execute(update(Consent).where(*before, Consent.given_at < day).values(given_at=day))


def end_again(
    session: Session, cohort: Cohort, key: int, domains: Iterable[str], *, said: datetime, at: datetime
) -> None:
    """`end` at the moment `said`, that a restored database has forgotten; what is held by a later word stays."""
    held = (granted(session, key) & set(domains)) - said_since(session, key, said)
    Writer(session, cohort, at).move(key, held, "ended")


def withdrawn_on(session: Session, people: Sequence[tuple[int, list[str]]]) -> dict[int, date]:
    """By person the day of the latest word by which one of the domains named is withdrawn, where it tells one."""
    query = select(Consent.participant_key, Consent.domain, Consent.given_at).where(
        Consent.state == "withdrawn"
    )
    keys, found = {key: set(domains) for key, domains in people}, dict[int, date]()
    for key, domain, day in session.execute(query.where(Consent.participant_key.in_(keys))):
        if domain in keys[key] and day is not None:
            found[key] = max(day, found.get(key, day))
    return found


def said_since(session: Session, key: int, moment: datetime) -> set[str]:
    """The domains that a person holds by a word later than a moment: entered after it, and not of a day before."""
    query = select(Consent.domain).where(
        Consent.participant_key == key, Consent.state.in_(HOLDING), Consent.changed_at > moment,
        Consent.given_at >= moment.date(),
    )  # fmt: skip
    return set(session.scalars(query))


def narrow(
    session: Session, cohort: Cohort, key: int, purposes: Mapping[str, Sequence[str]], *, at: datetime
) -> int:
    """Let consents that are held name these purposes, by domain, with all else that was said left as it is. The caller
    has locked the cohort; how many domains have changed."""
    writer = Writer(session, cohort, at)
    held = granted(session, key)
    for domain, codes in sorted(purposes.items()):
        if domain in held:
            writer.name_purposes(key, domain, tuple(codes))
    return writer.count


def purposes_of(session: Session, people: Sequence[tuple[int, list[str]]]) -> dict[int, dict[str, list[str]]]:
    """By person and domain, of those named, the purposes that are agreed to as the register stands."""
    query = select(Consent.participant_key, Consent.domain, Consent.purposes)
    keys = {key: set(domains) for key, domains in people}
    found: dict[int, dict[str, list[str]]] = {}
    for key, domain, purposes in session.execute(query.where(Consent.participant_key.in_(keys))):
        if domain in keys[key]:
            found.setdefault(key, {})[domain] = list(purposes)
    return found


def granted(session: Session, key: int) -> set[str]:
    """The domains of a person that copies may rest on, as the register says at this moment."""
    query = select(Consent.domain).where(Consent.participant_key == key, Consent.state.in_(HOLDING))
    return set(session.scalars(query))


def cohorts_due(session: Session, on: date) -> list[str]:
    """The cohorts, by id, in which somebody is `ended` or `of_age`: who it is, is asked again when it is locked."""
    query = select(Consent.cohort_id).where(or_(_has_ended(on), _is_of_age(on))).distinct()
    return list(session.scalars(query.order_by(Consent.cohort_id)))


def ended(session: Session, cohort_id: str, on: date) -> dict[int, list[str]]:
    """Person -> domains whose consent ended by its own date before this day and still counts as held."""
    return _due(session, cohort_id, _has_ended(on))


def of_age(session: Session, cohort_id: str, on: date) -> dict[int, list[str]]:
    """Person -> domains granted for a minor whose own word is due on this day, or was before."""
    return _due(session, cohort_id, _is_of_age(on))


def end(
    session: Session, cohort: Cohort, due: Mapping[int, Iterable[str]], state: str, *, at: datetime
) -> int:
    """Bring consents into `ended` or `reconsent_due`; how many. The caller has locked the cohort."""
    writer = Writer(session, cohort, at)
    for key, domains in due.items():
        writer.move(key, domains, state)
    return writer.count


def _has_ended(on: date) -> ColumnElement[bool]:
    return and_(Consent.state.in_(HOLDING), Consent.valid_until < on)


def _is_of_age(on: date) -> ColumnElement[bool]:
    alive = or_(Consent.valid_until.is_(None), Consent.valid_until >= on)  # what has ended is not due
    return and_(Consent.state == "granted", Consent.adult_due <= on, alive)


def _due(session: Session, cohort_id: str, due: ColumnElement[bool]) -> dict[int, list[str]]:
    query = select(Consent.participant_key, Consent.domain).where(Consent.cohort_id == cohort_id, due)
    found: dict[int, list[str]] = {}
    for key, domain in session.execute(query.order_by(Consent.participant_key, Consent.domain)):
        found.setdefault(key, []).append(domain)
    return found


def _counted(people: Iterable[pa.RecordBatch], told: Loaded) -> Iterator[pa.RecordBatch]:
    for batch in people:
        told.people += batch.num_rows
        yield batch
