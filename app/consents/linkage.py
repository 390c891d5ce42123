"""Who is the same person in two cohorts: by a token issued outside, kept as a keyed hash under a key of the platform.

We never make such a token (PIPA 28-3: joins between controllers go through a designated agency); which ones are taken
is said in `deid.identifiers.linkage`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.consents import laid
from app.consents.identities import Hasher, insert_missing
from app.deid.identifiers.linkage import UUID
from app.keyring import Keyring
from app.models import Participant, PlatformKey

PURPOSE = "linkage"
LINKAGE_BYTES = 16
_BATCH = 100_000
Keys = npt.NDArray[np.int32]


def hasher_of(session: Session, keyring: Keyring, at: datetime) -> Hasher:
    """What turns linkage tokens into what is stored: one key for the whole platform, made when it is first needed."""
    row = session.get(PlatformKey, PURPOSE)
    if row is None:
        session.execute(insert_missing(session, PlatformKey, ["purpose"]), [
            {"purpose": PURPOSE, "key_wrapped": keyring.new(), "created_at": at}
        ])  # fmt: skip
        row = session.get_one(PlatformKey, PURPOSE)  # another one may have been first
    return Hasher(keyring.unwrap(row.key_wrapped))


def hashed(hasher: Hasher, token: str) -> bytes:
    """What is stored of a token: 16 bytes; letters of a UUID may be written large or small."""
    plain = token.lower() if re.search(UUID, token.strip()) else token
    return hasher.digest(plain)[:LINKAGE_BYTES]


@dataclass(frozen=True, slots=True)
class Linked:
    """Participants of some cohorts: `keys` ascending, and for each the number of the person behind it.

    Two keys have the same number where both participants brought the same linkage token and both agreed to be linked
    (`may_link`). Numbers run from 0 and mean nothing outside this answer.
    """

    keys: Keys
    person: Keys

    @property
    def people(self) -> int:
        """How many distinct people they are, as far as is known."""
        return int(self.person.max()) + 1 if len(self.person) else 0


def linked(session: Session, cohort_ids: Iterable[str]) -> Linked:
    """Everyone in these cohorts. Whether consent covers a use is asked elsewhere; this only says who is who."""
    connection, wanted = session.connection(), sorted(set(cohort_ids))
    everyone = select(laid.numbers(Participant.key)).where(Participant.cohort_id.in_(wanted))
    keys = np.sort(laid.as_numbers(connection.scalar(everyone)))
    # Read by their keys, batch by batch; by an index of cohorts SQLite would go through all for each.
    tokens = select(laid.pairs(connection, Participant.key, Participant.linkage)).where(
        func.coalesce(Participant.cohort_id, "").in_(wanted),
        Participant.may_link,
        func.length(Participant.linkage) == LINKAGE_BYTES,
        Participant.key.between(bindparam("first"), bindparam("last")),
    )
    own, words = [np.empty(0, dtype=np.int32)], [np.empty((0, 2), dtype=np.uint64)]
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        told = connection.scalar(tokens, {"first": int(batch[0]), "last": int(batch[-1])})
        having, token = laid.as_pairs(told, LINKAGE_BYTES)
        own.append(having)
        words.append(np.ascontiguousarray(token).view(np.uint64))
    return Linked(keys, _numbered(keys, np.concatenate(own), np.concatenate(words)))


def _numbered(keys: Keys, own: Keys, words: npt.NDArray[np.uint64]) -> Keys:
    """For each key the number of its person, in the order of their first keys; those `own` whose tokens, two words
    each, are the same are one person."""
    there = np.isin(own, keys)  # on PostgreSQL somebody may have come meanwhile
    place, words = np.searchsorted(keys, own[there]), words[there]
    order = np.lexsort((place, words[:, 1], words[:, 0]))
    place, words = place[order], words[order]
    other = np.ones(len(place), dtype=np.bool_)
    other[1:] = (words[1:] != words[:-1]).any(axis=1)
    first = np.arange(len(keys))
    first[place] = place[other][np.cumsum(other) - 1]
    is_first = first == np.arange(len(keys))
    return (np.cumsum(is_first) - 1)[first].astype(np.int32)
