"""Who is the same person in two cohorts: by a token issued outside, kept as a keyed hash under a key of the platform.

We never make such a token (PIPA 28-3: joins between controllers go through a designated agency); which ones are taken
is said in `deid.identifiers.linkage`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import case, select
from sqlalchemy.orm import Session

from app.consents.identities import Hasher, insert_missing
from app.deid.identifiers.linkage import UUID
from app.keyring import Keyring
from app.models import Participant, PlatformKey

PURPOSE = "linkage"
LINKAGE_BYTES = 16


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

    keys: npt.NDArray[np.int32]
    person: npt.NDArray[np.int32]

    @property
    def people(self) -> int:
        """How many distinct people they are, as far as is known."""
        return int(self.person.max()) + 1 if len(self.person) else 0


def linked(session: Session, cohort_ids: Iterable[str]) -> Linked:
    """Everyone in these cohorts. Whether consent covers a use is asked elsewhere; this only says who is who."""
    wanted = sorted(set(cohort_ids))
    query = (
        select(Participant.key, case((Participant.may_link, Participant.linkage), else_=None))
        .where(Participant.cohort_id.in_(wanted))
        .order_by(Participant.key)
    )
    keys, person, known = array("i"), array("i"), dict[bytes, int]()
    count = 0
    for key, linkage in session.execute(query.execution_options(yield_per=50_000)):
        number = count if linkage is None else known.setdefault(linkage, count)
        count += number == count
        keys.append(key)
        person.append(number)
    return Linked(np.frombuffer(keys, dtype=np.int32), np.frombuffer(person, dtype=np.int32))
