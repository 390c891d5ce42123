"""Whether anyone who was recalled can still be read: all open parts, by the check that each of their bytes passes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import ledger
from app.consents import linking
from app.consents.queries import in_force
from app.errors import Problem
from app.extracts.service import ExtractService
from app.ledger.parts import listed
from app.models import Consent, DatasetVersion, Extract, Permit, RecallNotice, Withdrawal
from app.schemas.dictionary import Dictionary
from app.schemas.mapping import SOURCE
from app.schemas.plan import Plan

MARK = "monitor"  # begins the marks that close an extract until a steward has looked; no withdrawal's id does
REASON = "monitor_found_a_row"


@dataclass(frozen=True, slots=True)
class Leak:
    """Rows of people who have left, in parts of an extract that are open: how many parts, how many people."""

    extract_id: str
    parts: int
    people: int


@dataclass
class Watched:
    """What one round looked at, and what it found."""

    extracts: int = 0
    parts: int = 0
    people: int = 0
    leaks: list[Leak] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sought:
    """By table: the columns that hold pseudonyms, and the pseudonyms that must not stand in them; by source, where
    rows of others under the same pseudonym rightly stay (None: in no row at all)."""

    columns: dict[str, list[str]]
    gone: dict[str, dict[str | None, set[str]]]


def watch(service: ExtractService, *, close: bool) -> Watched:
    """Look at every live extract that somebody was recalled from. `close`: shut an extract where somebody is found.

    One part is on the disk at a time, one batch of its pseudonyms in memory."""
    told = Watched()
    with service.db.read() as session:
        query = select(RecallNotice.extract_id).join(Extract, Extract.id == RecallNotice.extract_id)
        extracts = sorted(set(session.scalars(query.where(Extract.state == "ready"))))
    for extract_id in extracts:
        with service.db.read() as session:
            sought = _sought(session, service, extract_id)
            parts = listed(session, extract_id, ("ready", "blocked", "replaced"))
        told.extracts += 1
        told.people += len(set[str]().union(*(one for of in sought.gone.values() for one in of.values())))
        found, leaking = set[str](), 0
        for part in parts:
            seen = _people(service, extract_id, part["name"], int(part["bytes"]), part["table"], sought)
            told.parts += 1
            leaking += bool(seen)
            found |= seen
        if found:
            told.leaks.append(Leak(extract_id, leaking, len(found)))
            if close:
                now = service.clock()
                with service.db.unit_of_work() as session:
                    ledger.mark(session, extract_id, f"{MARK}:{now:%Y%m%d%H%M%S}", reason=REASON, at=now)
    return told


def reopen(service: ExtractService, extract_id: str) -> None:
    """Take the monitor's mark away again: a steward has closed its alarm."""
    with service.db.unit_of_work() as session:
        marks = ledger.open_marks(session, extract_id)
        ledger.settle(session, extract_id, [mark for mark in marks if mark.startswith(f"{MARK}:")])


def _sought(session: Session, service: ExtractService, extract_id: str) -> _Sought:
    row = session.get_one(Extract, extract_id)
    plan = Plan.model_validate(session.get_one(Permit, row.permit_id).plan)
    dictionary = Dictionary.model_validate(session.get_one(DatasetVersion, row.version_id).dictionary)
    columns = {t.name: [c.name for c in t.columns if c.transform == "pseudonymise"] for t in plan.tables}
    tells = {
        t.name for t in plan.tables if any(c.name == SOURCE and c.transform != "drop" for c in t.columns)
    }
    gone: dict[str, dict[str | None, set[str]]] = {t.name: {} for t in plan.tables}
    on = service.clock().date()
    others_of = cache(partial(linking.others_hold, session, row.project_id))
    notices = (
        select(RecallNotice.pseudonym, RecallNotice.source, Withdrawal.domains, Withdrawal.participant_key)
        .join(Withdrawal, Withdrawal.id == RecallNotice.withdrawal_id)
        .where(RecallNotice.extract_id == extract_id)
    )
    for pseudonym, source, domains, key in session.execute(notices):
        # Who has consented again since may stand there again; who was destroyed has nothing to consent with.
        back = select(Consent.domain).where(Consent.participant_key == key, in_force(on))
        lost = set(domains) - set(session.scalars(back) if key is not None else ())
        others = others_of(key) if plan.linkage and source is not None else set[str]()
        for name in gone:
            domain = dictionary.table(name).domain
            stay = domain in others  # rows of others: only one that tells the recalled source is a leak
            if domain in lost and (name in tells or not stay):
                gone[name].setdefault(source if stay else None, set()).add(pseudonym)
    return _Sought(columns, gone)


def _people(
    service: ExtractService, extract_id: str, name: str, size: int, table: str, sought: _Sought
) -> set[str]:
    if not sought.gone[table] or not sought.columns[table]:
        return set()
    try:
        service.check_part(extract_id, name)
    except Problem:
        return set()  # nobody reads it
    found: set[str] = set()
    names, gone = sought.columns[table], sought.gone[table]
    wanted = {source: pa.array(sorted(people), pa.string()) for source, people in gone.items()}
    columns = names if wanted.keys() <= {None} else [*names, SOURCE]
    with tempfile.TemporaryFile() as file:
        for chunk in _bytes(service, f"{extract_id}/{name}", size):
            file.write(chunk)
        if file.tell() != size:
            return set()  # its bytes are gone
        for batch in pq.ParquetFile(file).iter_batches(columns=columns):
            for source, people in wanted.items():
                # A source that few people have leaves as null: such a row may be one of the others, who stay.
                rows = (
                    batch
                    if source is None
                    else batch.filter(pc.equal(batch[SOURCE].cast(pa.string()), source))
                )
                for column in names:
                    texts = rows[column].cast(pa.string())
                    found |= set(texts.filter(pc.is_in(texts, value_set=people)).to_pylist())
    return found


def _bytes(service: ExtractService, name: str, size: int) -> Iterator[bytes]:
    try:
        yield from service.outbox.chunks(name, 0, size)
    except FileNotFoundError:
        return
