"""The last generation of an extract: which of its parts may stay, and what is remembered of how it was made.

A reissue is a release like any other, through the same six steps. Only that steps 3 and 4 go on from the last
generation, where what is remembered fits what ledger and outbox hold, and are done in whole where it does not.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.deid import released
from app.engines import NotLocal
from app.gate.remembering import Remembered, recollect
from app.ledger.parts import listed
from app.models import Extract

if TYPE_CHECKING:
    from app.gate.door import Gate

Place = tuple[str, int]  # table, position


@dataclass(frozen=True)
class Last:
    """The parts of the newest generation, the places among them that are closed or lost, and the memory of it."""

    remembered: Remembered
    parts: tuple[released.PartFacts, ...]
    closed: frozenset[Place]

    def but(self, changed: AbstractSet[Place]) -> tuple[released.PartFacts, ...]:
        """The parts at all other places. A closed part never stays."""
        return tuple(p for p in self.parts if (p.table, p.position) not in {*changed, *self.closed})


def last_generation(gate: Gate, extract_id: str, project_key: bytes) -> Last:
    """The generation that is handed out now; raises NotLocal where there is none, or nothing to go on from."""
    with gate.db.read() as session:
        extract = session.get_one(Extract, extract_id)
        generation, manifest = extract.generation, extract.manifest or {}
        ready = {p["name"]: p for p in listed(session, extract_id, ("ready",))}
    if generation == 0:
        raise NotLocal("first")
    remembered = recollect(gate, extract_id, generation, project_key)
    if remembered is None:
        raise NotLocal("no_memory")
    parts = tuple(_parts(manifest))
    if {(p.table, p.position): p.rows for p in parts} != _rows(remembered):
        raise NotLocal("other_parts")
    closed = {(p.table, p.position) for p in parts if not _stands(gate, extract_id, p, ready.get(p.name))}
    return Last(remembered, parts, frozenset(closed))


def _parts(manifest: dict[str, Any]) -> list[released.PartFacts]:
    return [
        released.PartFacts(
            table["name"], p["position"], p["name"], p["sha256"], p["rows"], p["bytes"], table["columns"]
        )
        for table in manifest["tables"]
        for p in table["parts"]
    ]


def _rows(remembered: Remembered) -> dict[Place, int]:
    return {
        (table, int(position)): rows
        for table, held in remembered.kept.about["rows"].items()
        for position, rows in held.items()
    }


def _stands(gate: Gate, extract_id: str, part: released.PartFacts, row: dict[str, Any] | None) -> bool:
    """Whether the ledger holds the part open under its digest, and the outbox has all of its bytes."""
    if row is None or (row["sha256"], row["rows"]) != (part.sha256, part.rows):
        return False
    try:
        return gate.outbox.size(f"{extract_id}/{part.name}") == part.bytes
    except FileNotFoundError:
        return False
