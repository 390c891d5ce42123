"""Withdrawals are written down outside the database too, and replayed where the database has forgotten them.

A line holds ids and the keyed hash of the person's identifier: who it was can be found again in a restored database,
and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Participant, Withdrawal
from app.storage.journal import Journal

# Takes a withdrawal anew under its own id: session, id, cohort, participant key, domains, kind.
Carry = Callable[[Session, str, str, int, list[str], str], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many withdrawals the database had forgotten, and how many of people whom it does not know at all."""

    taken: int
    unknown: int


def entry_of(row: Withdrawal, identity: bytes) -> dict[str, Any]:
    """The line of a withdrawal."""
    return {
        "id": row.id, "cohort": row.cohort_id, "identity": identity.hex(), "domains": list(row.domains),
        "kind": row.kind, "at": row.taken_at.isoformat(),
    }  # fmt: skip


def replay(db: Database, journal: Journal, carry: Carry) -> Replayed:
    """Take every withdrawal of the journal that the database does not hold, each in its own transaction."""
    taken = unknown = 0
    for entry in journal.entries():
        with db.unit_of_work() as session:
            if session.get(Withdrawal, entry["id"]) is not None:
                continue
            query = select(Participant.key).where(
                Participant.cohort_id == entry["cohort"],
                Participant.identity == bytes.fromhex(entry["identity"]),
            )
            key = session.scalar(query)
            if key is None:  # enrolled after the backup was made: nothing of theirs was restored
                unknown += 1
                continue
            carry(session, entry["id"], entry["cohort"], key, list(entry["domains"]), entry["kind"])
            taken += 1
    return Replayed(taken, unknown)
