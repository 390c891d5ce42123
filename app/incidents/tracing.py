"""Where a leaked file is from: by its digest, else by the pseudonyms in it; and of which generations it can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import PLATFORM, project_stream, record
from app.clock import Clock
from app.db import Database
from app.incidents.leaked import read
from app.models import AuditLine, Consent, Extract, Part, Project, RecallNotice, Withdrawal
from app.settings import Settings

View = dict[str, Any]
SURE = 3
"""So many pseudonyms of one project are no accident and no single one that somebody pasted."""


class Origin(Protocol):
    """An extract that knows words of the file."""

    @property
    def extract_id(self) -> str:
        """Which."""

    @property
    def matched(self) -> int:
        """How many words are pseudonyms of its project."""

    @property
    def people(self) -> int:
        """How many people it ever held."""

    @property
    def recalled(self) -> tuple[str, ...]:
        """Those of the words that were recalled from it."""


class Knowing(Protocol):
    """The side of the gate that tracing uses."""

    def origins(self, words: Sequence[str]) -> Iterator[Origin]:
        """Which extracts know any of these words."""


@dataclass(frozen=True)
class TraceService:
    """It needs the database and the projects' keys, no store. It answers ids and counts: no pseudonym, no person."""

    db: Database
    clock: Clock
    settings: Settings
    gate: Knowing

    def trace(self, path: Path, actor: str) -> View:
        """`{sha256, bytes, form, words, origins}`, the likeliest origin first; each look has its line in the platform's
        chain. `confidence`: `exact` (the very bytes of a part), `high` (at least three pseudonyms of the project),
        `low` (fewer). `chance`: the most likely such a match is for a file that has nothing to do with the project."""
        leaked = read(path, self.settings.expansion_max_ratio)
        found = list(self._by_digest(leaked.sha256))
        known = {one["extract_id"] for one in found}
        for origin in self.gate.origins(leaked.words):
            if origin.extract_id not in known:
                found.append(self._by_words(origin, len(leaked.words)))
        order = {"exact": 0, "high": 1, "low": 2}
        found.sort(key=lambda one: (order[one["confidence"]], -one["matched"], one["extract_id"]))
        with self.db.unit_of_work() as session:
            data = {
                "bytes": leaked.bytes,
                "words": len(leaked.words),
                "origins": [one["extract_id"] for one in found],
            }
            record(session, stream=PLATFORM, event="leak.traced", actor=actor, object_id=leaked.sha256,
                   at=self.clock(), data=data)  # fmt: skip
        return {"sha256": leaked.sha256, "bytes": leaked.bytes, "form": leaked.form, "words": len(leaked.words),
                "origins": found}  # fmt: skip

    def _by_digest(self, sha256: str) -> Iterator[View]:
        with self.db.read() as session:
            for part in session.scalars(select(Part).where(Part.sha256 == sha256).order_by(Part.extract_id)):
                held = [
                    number
                    for number, _at, parts in _generations(session, part.extract_id)
                    if part.name in parts
                ]
                within = [min(held), max(held)] if held else [part.generation, part.generation]
                yield {**_extract(session, part.extract_id), "generations": within, "table": part.table_name,
                       "matched": 0, "confidence": "exact", "chance": 0.0}  # fmt: skip

    def _by_words(self, origin: Origin, words: int) -> View:
        with self.db.read() as session:
            within = _bounds(session, origin)
            sure = origin.matched >= SURE
            # Each word of 64 random bits is one of the project's by accident with people / 2**64.
            chance = min(1.0, words * origin.people / 2.0**64) ** origin.matched
            return {**_extract(session, origin.extract_id), "generations": within, "table": None,
                    "matched": origin.matched, "confidence": "high" if sure else "low", "chance": chance}  # fmt: skip


def _extract(session: Session, extract_id: str) -> View:
    row = session.get_one(Extract, extract_id)
    holder = session.get_one(Project, row.project_id).holder
    return {"extract_id": row.id, "project_id": row.project_id, "permit_id": row.permit_id, "holder": holder}


def _bounds(session: Session, origin: Origin) -> list[int]:
    """The first and the last generation that the copy can be from: a person of whom nothing stayed when they were
    recalled is in none that was published after that, unless they came back."""
    published = _generations(session, origin.extract_id)
    first, last = published[0][0], published[-1][0]
    for at, key in _recalls(session, origin):
        if not _came_back(session, key, at):
            last = min(last, max((number for number, then, _parts in published if then <= at), default=first))
    return [first, last]


def _recalls(session: Session, origin: Origin) -> list[tuple[datetime, int | None]]:
    query = (
        select(RecallNotice.at, Withdrawal.participant_key)
        .join(Withdrawal, Withdrawal.id == RecallNotice.withdrawal_id)
        .where(
            RecallNotice.extract_id == origin.extract_id,
            RecallNotice.pseudonym.in_(origin.recalled),
            RecallNotice.stays == "",
        )
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def _came_back(session: Session, key: int | None, after: datetime) -> bool:
    """Whether a person said yes again after a recall; who was destroyed did not."""
    query = select(Consent.domain).where(
        Consent.participant_key == key, Consent.state == "granted", Consent.changed_at > after
    )
    return key is not None and session.scalar(query.limit(1)) is not None


def _generations(session: Session, extract_id: str) -> list[tuple[int, datetime, frozenset[str]]]:
    """(number, when, names of its parts) of every published generation, read off the project's chain."""
    project_id = session.get_one(Extract, extract_id).project_id
    query = select(AuditLine.data, AuditLine.at).where(
        AuditLine.stream == project_stream(project_id), AuditLine.object_id == extract_id,
        AuditLine.event.in_(("extract.built", "extract.reissued")),
    )  # fmt: skip
    rows = session.execute(query.order_by(AuditLine.number))
    return [(int(data["generation"]), at, frozenset(data["parts"])) for data, at in rows]
