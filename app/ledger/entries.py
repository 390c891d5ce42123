"""Rows of (key >> 16, extract) -> bitmap of the low 16 bits, so that one person's extracts are one index range away.

A person stays in the ledger of an extract for every generation that was ever handed out: who leaves later must be
recalled from holders of an earlier generation too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.models import LedgerChunk

Keys = npt.NDArray[np.int32]
_LOW = 0xFFFF


def enter(session: Session, extract_id: str, keys: Keys) -> int:
    """Add these participant keys to the extract's ledger; the number of people it then holds."""
    held = {chunk.chunk: chunk for chunk in session.scalars(_chunks_of(extract_id).with_for_update())}
    high = keys >> 16
    for number in np.unique(high):
        low = BitMap((keys[high == number] & _LOW).astype(np.uint32))
        if row := held.get(int(number)):
            row.members = (BitMap.deserialize(row.members) | low).serialize()
        else:
            row = LedgerChunk(chunk=int(number), extract_id=extract_id, members=low.serialize())
            held[int(number)] = row
            session.add(row)
    session.flush()
    return sum(len(BitMap.deserialize(row.members)) for row in held.values())


def extracts_holding(session: Session, key: int) -> list[str]:
    """The ids of all extracts that ever held this person, in order."""
    chunks = session.scalars(
        select(LedgerChunk).where(LedgerChunk.chunk == key >> 16).order_by(LedgerChunk.extract_id)
    )
    return [chunk.extract_id for chunk in chunks if (key & _LOW) in BitMap.deserialize(chunk.members)]


def extracts_holding_any(session: Session, keys: Sequence[int]) -> list[str]:
    """The ids of all extracts that ever held one of these people, in order; each bitmap is read once."""
    low: dict[int, BitMap] = {}
    for key in keys:
        low.setdefault(key >> 16, BitMap()).add(key & _LOW)
    found: set[str] = set()
    for chunk, wanted in low.items():
        query = select(LedgerChunk.extract_id, LedgerChunk.members).where(LedgerChunk.chunk == chunk)
        for extract_id, held in session.execute(query):
            if extract_id not in found and BitMap.deserialize(held).intersect(wanted):
                found.add(extract_id)
    return sorted(found)


def extracts_holding_each(session: Session, keys: Sequence[int]) -> dict[int, list[str]]:
    """For each of these people the ids of all extracts that ever held them, in order; each bitmap is read once."""
    asked: dict[int, BitMap] = {}
    for key in keys:
        asked.setdefault(key >> 16, BitMap()).add(key & _LOW)
    found: dict[int, list[str]] = {key: [] for key in keys}
    for chunk, wanted in asked.items():
        query = select(LedgerChunk.extract_id, LedgerChunk.members).where(LedgerChunk.chunk == chunk)
        for extract_id, held in session.execute(query.order_by(LedgerChunk.extract_id)):
            for low in BitMap.deserialize(held) & wanted:
                found[chunk << 16 | low].append(extract_id)
    return found


def members(session: Session, extract_id: str) -> BitMap:
    """All participant keys that the extract ever held."""
    found = BitMap()
    for chunk in session.scalars(_chunks_of(extract_id)):
        found |= BitMap.deserialize(chunk.members).shift(chunk.chunk << 16)
    return found


def _chunks_of(extract_id: str) -> Select[LedgerChunk]:
    return select(LedgerChunk).where(LedgerChunk.extract_id == extract_id).order_by(LedgerChunk.chunk)
