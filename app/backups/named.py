"""Which objects the rows of a database name: what a restored database would look for in the vault and the outbox."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, and_, select
from sqlalchemy.orm import Session

from app.models import Extract, Part, VaultSegment, VaultTable

_GONE = ("expired", "destroyed", "failed")  # extracts of which nothing is handed out any more


@dataclass(frozen=True, slots=True)
class Named:
    """An object by its room and name, with its digest where the rows tell one."""

    room: str
    name: str
    sha256: str | None

    @property
    def path(self) -> str:
        """The name that it has in a place of backups."""
        return f"{self.room}/{self.name}"


def named(session: Session) -> Iterator[Named]:
    """Every object once. Parts that are closed, replaced or not handed out yet are not named: nobody reads them, and
    what made them is done again. Neither are tables that a destruction has replaced."""
    seen: set[str] = set()
    for one in _all(session):
        if one.path not in seen:
            seen.add(one.path)
            yield one


def _all(session: Session) -> Iterator[Named]:
    whole = select(VaultTable.object_name, VaultTable.sha256, VaultTable.left_out_name)
    segments = select(VaultSegment.object_name, VaultSegment.sha256, VaultSegment.left_out_name).join(
        VaultTable,
        and_(
            VaultTable.version_id == VaultSegment.version_id,
            VaultTable.table_name == VaultSegment.table_name,
            VaultTable.generation == VaultSegment.generation,
        ),
    )
    for query in (whole, segments):
        for name, sha256, left_out in _rows(session, query.where(VaultTable.removed_by.is_(None))):
            if name:
                yield Named("vault", name, sha256)
            if left_out:
                yield Named("vault", left_out, None)
    parts = select(Part.extract_id, Part.name, Part.sha256).join(Extract, Extract.id == Part.extract_id)
    for extract_id, name, sha256 in _rows(
        session, parts.where(Part.state == "ready", Extract.state.not_in(_GONE))
    ):
        yield Named("outbox", f"{extract_id}/{name}", sha256)


def _rows(session: Session, query: Executable) -> Iterator[Any]:
    yield from session.execute(query.execution_options(yield_per=1000))
