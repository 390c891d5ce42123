"""participant -> pseudonym, shift, and whether each domain's rows may leave: read from consent at this moment.

Every row that leaves reaches its person through this table; who is not in it has no way out. Only the worker builds
it, because only the worker holds project keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.consents.cohorts import Behind
from app.consents.queries import covered as consenting
from app.deid import pseudonyms
from app.models import Participant

Keys = npt.NDArray[np.int32]
_BATCH = 50_000


@dataclass(frozen=True)
class Crosswalk:
    """The table handed to an engine (see `engines.protocol.Source`) and the people behind each domain."""

    table: pa.Table
    covered: Mapping[str, Keys]
    epoch: int
    on: date

    @property
    def people(self) -> int:
        """How many people have a way out for at least one domain."""
        return int(self.table.num_rows)


def covered_now(
    session: Session, of: Behind, domains: Iterable[str], purpose: Mapping[str, Any] | None, on: date
) -> dict[str, Keys]:
    """Per domain the sorted keys of the people of these cohorts whose consent covers the purpose on this day."""
    return {
        d: np.sort(np.concatenate([consenting(session, one, d, purpose, on) for one in of.ids]))
        for d in sorted(set(domains))
    }


def build(
    session: Session,
    *,
    of: Behind,
    domains: Iterable[str],
    purpose: Mapping[str, Any] | None,
    project_key: bytes,
    on: date,
    shift_weeks: int,
    known: pa.Table | None = None,
    with_deceased: bool = True,
) -> Crosswalk:
    """The crosswalk of a project over the cohorts of a version, ordered by participant key; dates move by up to
    `shift_weeks`.

    Consent is always read now. `known` (key, pseudonym, shift_days; ascending by key) is what this project's last
    generation derived from the same key, random ids and weeks, which never change: only others are derived again."""
    covered = covered_now(session, of, domains, purpose, on)
    if not with_deceased:
        covered = {d: np.setdiff1d(keys, _deceased(session, of)) for d, keys in covered.items()}
    anyone = np.unique(np.concatenate([*covered.values(), np.empty(0, dtype=np.int32)])).astype(np.int32)
    names, shifts = _derived(session, of.ids, project_key, anyone, 7 * shift_weeks, known)
    order = _order(names)
    rank = np.empty(len(anyone), dtype=np.int32)
    rank[order] = np.arange(len(anyone), dtype=np.int32)
    columns: dict[str, Any] = {
        "key": anyone,
        "rank": rank,
        "pseudonym": pa.array(names, pa.binary()).cast(pa.string()),
        "slice": slices(names),
        "shift_days": shifts,
    }
    for domain, keys in covered.items():
        columns[f"in_{domain}"] = np.isin(anyone, keys)
    return Crosswalk(pa.table(columns), covered, of.epoch, on)


def _derived(
    session: Session,
    cohort_ids: Sequence[str],
    project_key: bytes,
    anyone: Keys,
    most_days: int,
    known: pa.Table | None,
) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int32]]:
    """The pseudonym (S16) and the shift of each key, by up to `most_days`."""
    if known is None:
        ids = random_ids(session, cohort_ids, anyone)
        return pseudonyms.pseudonyms(project_key, ids), pseudonyms.shift_days(project_key, ids, most_days)
    held = known["key"].to_numpy()
    new = anyone[~np.isin(anyone, held, assume_unique=True)]
    ids = random_ids(session, cohort_ids, new)
    names, shifts = np.empty(len(anyone), dtype="S16"), np.empty(len(anyone), dtype=np.int32)
    stay, fresh = np.isin(held, anyone, assume_unique=True), np.searchsorted(anyone, new)
    old = np.searchsorted(anyone, held[stay])
    names[old] = np.array(known["pseudonym"].to_pylist(), dtype="S16")[stay]
    shifts[old] = known["shift_days"].to_numpy()[stay]
    names[fresh] = pseudonyms.pseudonyms(project_key, ids)
    shifts[fresh] = pseudonyms.shift_days(project_key, ids, most_days)
    return names, shifts


def _order(names: npt.NDArray[np.bytes_]) -> npt.NDArray[np.intp]:
    """The places of the pseudonyms in ascending order; two alike would merge two people."""
    words = np.frombuffer(bytes.fromhex(names.tobytes().decode()), dtype=">u8").astype(np.uint64)
    order = np.argsort(words, kind="stable")
    if alike := int((np.diff(words[order]) == 0).sum()):
        raise pseudonyms.PseudonymError(f"{alike} of {len(names)} pseudonyms are not unique")
    return order


def _deceased(session: Session, of: Behind) -> Keys:
    query = select(Participant.key).where(Participant.cohort_id.in_(of.ids), Participant.deceased)
    return np.fromiter(session.scalars(query), dtype=np.int32)


def slices(names: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint32]:
    """The first 32 bits of each pseudonym (S16): its place among the parts."""
    first = names.astype("S8").tobytes().decode()
    return np.frombuffer(bytes.fromhex(first), dtype=">u4").astype(np.uint32)


def of_cohort(session: Session, cohort_id: str, keys: Keys) -> Keys:
    """Those of the keys (sorted) that are people of this cohort."""
    found = []
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        query = select(Participant.key).where(
            Participant.cohort_id == cohort_id, Participant.key.between(int(batch[0]), int(batch[-1]))
        )
        found.append(np.intersect1d(batch, np.fromiter(session.scalars(query), dtype=np.int32)))
    return np.concatenate([np.empty(0, dtype=np.int32), *found])


def random_ids(session: Session, cohort_ids: Sequence[str], keys: Keys) -> pseudonyms.Ids:
    """The random ids of `keys` (sorted), uint8 (n, 16), read in key order so that the two line up."""
    found = bytearray()
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        query = (
            select(Participant.key, Participant.random_id)
            .where(
                Participant.cohort_id.in_(cohort_ids),
                Participant.key.between(int(batch[0]), int(batch[-1])),
            )
            .order_by(Participant.key)
        )
        wanted = set(batch.tolist())
        found += b"".join(random_id for key, random_id in session.execute(query) if key in wanted)
    if len(found) != len(keys) * pseudonyms.ID_BYTES:
        raise LookupError("a consent without its participant")
    return np.frombuffer(bytes(found), dtype=np.uint8).reshape(len(keys), pseudonyms.ID_BYTES)


def named(
    session: Session, cohort_ids: Sequence[str], keys: Keys, project_key: bytes, pseudonym: str
) -> int | None:
    """Which of these people (sorted keys) a project knows by this pseudonym; None where it is none of them."""
    if not len(keys):
        return None
    names = pseudonyms.pseudonyms(project_key, random_ids(session, cohort_ids, keys))
    found = keys[names == pseudonym.encode()]
    return int(found[0]) if len(found) else None
