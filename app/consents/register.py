"""The register changes whole or not at all: a file of consents, or one person's word; each change moves the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.consents import epochs
from app.consents.identities import Hasher, enrol, index
from app.consents.lines import Line, read_lines
from app.errors import Finding, refuse_all
from app.keyring import Keyring
from app.models import Cohort, Consent, ConsentChange, Participant

DOMAINS = ("clinical", "genomic", "lifelog", "public", "recontact")
_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person says of one domain."""

    state: str
    purposes: tuple[str, ...] = ()
    form_version: str = ""
    given_at: date | None = None
    valid_until: date | None = None


@dataclass
class Loaded:
    """What loading a register did: counts, and who was covered before and has now withdrawn, from which domains."""

    lines: int = 0
    people: int = 0
    changed: int = 0
    epoch: int = 0
    withdrawn: list[tuple[int, list[str]]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The counts; never a key."""
        return {
            "lines": self.lines, "people": self.people, "changed": self.changed, "epoch": self.epoch,
            "withdrawn": len(self.withdrawn),
        }  # fmt: skip


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


def load_consents(
    session: Session, keyring: Keyring, cohort_id: str, path: Path, *, at: datetime, actor: str
) -> Loaded:
    """Load a register: every line is applied, or none. Loading the same file again changes nothing.

    CSV in UTF-8 with participant_id, domain (or `all`), state, and optionally purposes (DUO codes between ;),
    form_version, given_at, valid_until. Raises `Problem("invalid_request")` with every finding. People whom no
    line names keep what they said before. A participant whom the cohort does not know yet is enrolled.
    """
    cohort = epochs.lock(session, cohort_id)
    lines, findings = read_lines(path, hasher_of(keyring, cohort))
    refuse_all("invalid_request", "The consent register was not loaded; nothing has changed.", findings)
    enrol(session, cohort_id, (line.identity for line in lines), at)
    known = index(session, cohort_id)
    keys = dict(zip(known["identity"].to_pylist(), known["key"].to_pylist(), strict=True))
    changes = _Changes(session, cohort, at)
    for start in range(0, len(lines), _BATCH):
        changes.apply(
            {
                (keys[line.identity], domain): _statement(line)
                for line in lines[start : start + _BATCH]
                for domain in _domains(line)
            }
        )
    people = len({line.identity for line in lines})
    loaded = Loaded(len(lines), people, changes.count, withdrawn=sorted(changes.withdrawn.items()))
    loaded.epoch = cohort.epoch
    record(
        session, stream=institution_stream(cohort.institution_id), event="consent.register_loaded", actor=actor,
        object_id=cohort_id, at=at, data=loaded.to_dict(),
    )  # fmt: skip
    return loaded


def set_consent(
    session: Session,
    cohort_id: str,
    key: int,
    domains: Sequence[str],
    statement: Statement,
    *,
    at: datetime,
    actor: str,
) -> list[str]:
    """One person's word on some domains; the domains that were granted before and are now withdrawn."""
    cohort = epochs.lock(session, cohort_id)
    _check(domains, statement)
    changes = _Changes(session, cohort, at)
    changes.apply({(key, domain): statement for domain in domains})
    if changes.count:
        record(
            session, stream=institution_stream(cohort.institution_id), event="consent.changed", actor=actor,
            object_id=cohort_id, at=at,
            data={"changed": changes.count, "state": statement.state, "epoch": cohort.epoch},
        )  # fmt: skip
    return changes.withdrawn.get(key, [])


def withdraw(session: Session, cohort: Cohort, key: int, domains: Iterable[str], *, at: datetime) -> int:
    """Take back a person's consent for these domains, also where none was ever given: it stays a refusal.

    The caller has locked the cohort and takes the audit line; how many domains have changed.
    """
    changes = _Changes(session, cohort, at)
    changes.apply({(key, domain): Statement("withdrawn") for domain in domains})
    return changes.count


def granted(session: Session, key: int) -> set[str]:
    """The domains that a person's consent covers at this moment, as the register says."""
    query = select(Consent.domain).where(Consent.participant_key == key, Consent.state == "granted")
    return set(session.scalars(query))


def ended(session: Session, on: date) -> dict[str, dict[int, list[str]]]:
    """Cohort -> person -> domains whose consent was granted and ended by its own date before this day."""
    query = select(Consent.cohort_id, Consent.participant_key, Consent.domain).where(
        Consent.state == "granted", Consent.valid_until < on
    )
    found: dict[str, dict[int, list[str]]] = {}
    for cohort_id, key, domain in session.execute(query.order_by(Consent.participant_key, Consent.domain)):
        found.setdefault(cohort_id, {}).setdefault(key, []).append(domain)
    return found


def _check(domains: Sequence[str], statement: Statement) -> None:
    findings = []
    if unknown := [domain for domain in domains if domain not in DOMAINS]:
        findings.append(Finding("bad_domain", f"a domain is one of {', '.join(DOMAINS)}", count=len(unknown)))
    if statement.state not in ("granted", "withdrawn"):
        findings.append(Finding("bad_state", "a consent is granted or withdrawn"))
    if statement.given_at and statement.valid_until and statement.valid_until < statement.given_at:
        findings.append(Finding("bad_date", "a consent ends before it was given"))
    refuse_all("invalid_request", "The consent was not changed.", findings)


def _domains(line: Line) -> tuple[str, ...]:
    return DOMAINS if line.domain == "all" else (line.domain,)


def _statement(line: Line) -> Statement:
    if line.state == "withdrawn":  # nothing but the word itself is left of a withdrawn consent
        return Statement("withdrawn", form_version=line.form_version, given_at=line.given_at)
    return Statement(line.state, line.purposes, line.form_version, line.given_at, line.valid_until)


class _Changes:
    """Writes what differs from the register, with its history. The cohort is locked; its epoch moves at most once."""

    def __init__(self, session: Session, cohort: Cohort, at: datetime) -> None:
        self.session, self.cohort, self.at = session, cohort, at
        self.count = 0
        self.withdrawn: dict[int, list[str]] = {}

    def apply(self, wanted: Mapping[tuple[int, str], Statement]) -> None:
        """Make the register say this; each person and domain once in a load."""
        keys = sorted({key for key, _ in wanted})
        rows = self.session.scalars(select(Consent).where(Consent.participant_key.in_(keys)))
        held = {(row.participant_key, row.domain): row for row in rows}
        for (key, domain), said in sorted(wanted.items(), key=lambda one: one[0]):
            row = held.get((key, domain))
            if row is not None and not _differs(row, said):
                continue
            if not self.count:
                epochs.advance(self.cohort)
            self.count += 1
            if row is not None and row.state == "granted" and said.state == "withdrawn":
                self.withdrawn.setdefault(key, []).append(domain)
            _write(self.session, self.cohort, key, domain, row, said, self.at)
        self.session.flush()


def _differs(row: Consent, statement: Statement) -> bool:
    said = Statement(row.state, tuple(row.purposes), row.form_version, row.given_at, row.valid_until)
    if said.state == statement.state == "withdrawn":
        return False  # withdrawn is withdrawn: a later line that says so again changes nothing
    return said != statement


def _write(
    session: Session,
    cohort: Cohort,
    key: int,
    domain: str,
    row: Consent | None,
    said: Statement,
    at: datetime,
) -> None:
    if row is None:
        row = Consent(participant_key=key, domain=domain, cohort_id=cohort.id)
        session.add(row)
    row.state, row.purposes, row.form_version = said.state, list(said.purposes), said.form_version
    row.given_at, row.valid_until, row.changed_at = said.given_at, said.valid_until, at
    session.add(
        ConsentChange(
            participant_key=key, domain=domain, state=said.state, purposes=list(said.purposes),
            valid_until=said.valid_until, epoch=cohort.epoch, at=at,
        )
    )  # fmt: skip
