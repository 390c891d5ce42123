"""Withdrawals are written down outside the database too, and replayed where the database has forgotten them.

A line holds ids and the keyed hash of the person's identifier: who it was can be found again in a restored database,
and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.models import Participant, Withdrawal
from app.storage.journal import Journal

Entry = dict[str, Any]
Carry = Callable[[Session, Entry, int], None]
"""Takes the withdrawal of a line anew, for a participant key."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many withdrawals the database had forgotten, and how many of people whom it does not know at all."""

    taken: int
    unknown: int


def entry_of(
    id_: str,
    cohort_id: str,
    identity: bytes,
    domains: Sequence[str],
    kind: str,
    at: datetime,
    *,
    commitment: str | None = None,
    purposes: Mapping[str, Sequence[str]] | None = None,
    said: date | None = None,
    ended: bool = False,
) -> Entry:
    """The line of a withdrawal. `commitment`: of a destruction, so that it is the same one after a restore; `purposes`:
    by domain, what those who narrowed their purposes agree to still; `said`: the day of the word, where it was written
    down later; `ended`: nobody took anything back, a consent ended by its own date."""
    more: Entry = {"commitment": commitment} if commitment else {}
    if said is not None:
        more["said"] = said.isoformat()
    if ended:
        more["ended"] = True
    if purposes is not None:
        more["purposes"] = {domain: list(codes) for domain, codes in purposes.items()}
    return {
        "id": id_, "cohort": cohort_id, "identity": identity.hex(), "domains": list(domains), "kind": kind,
        "at": at.isoformat(), **more,
    }  # fmt: skip


def replay(db: Database, journal: Journal, carry: Carry) -> Replayed:
    """Take every withdrawal of the journal that the database does not hold, each in its own transaction."""
    taken = unknown = 0
    for entry in journal.entries():
        if "cohort" not in entry:
            continue  # of something else
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
            carry(session, entry, key)
            taken += 1
    return Replayed(taken, unknown)
