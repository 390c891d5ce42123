"""participant -> pseudonym, shift, and whether each domain's rows may leave: read from consent at this moment.

Every row that leaves reaches its person through this table; who is not in it has no way out. Only the worker builds
it, because only the worker holds project keys.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyroaring import BitMap
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.consents import laid, linking
from app.consents.cohorts import Behind
from app.consents.linking import Linkage
from app.consents.queries import covered as consenting
from app.deid import pseudonyms
from app.models import Participant

Keys = npt.NDArray[np.int32]
Names = npt.NDArray[np.str_]
_BATCH = 100_000
# A cohort's people are read by their keys, batch by batch; by an index of cohorts SQLite would go through all for each.
_cohort = func.coalesce(Participant.cohort_id, "")


@dataclass(frozen=True)
class Crosswalk:
    """The table handed to an engine (see `engines.protocol.Source`) and the people behind each domain.

    `seeds` has, of every participant whom the project knows as linked, what the person's pseudonym is derived from.
    """

    table: pa.Table
    covered: Mapping[str, Keys]
    epoch: int
    on: date
    seeds: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def persons(self) -> Keys:
        """For each row of the table the person: one of the person's keys."""
        column = "person" if "person" in self.table.column_names else "key"
        return np.asarray(self.table[column].to_numpy(), dtype=np.int32)

    def basis(self) -> dict[str, str]:
        """Domain -> the keys of the people whose rows of it may leave, as a base64 bitmap: to hold against another."""
        found = {}
        for name in self.table.column_names:
            if name.startswith("in_"):
                keys = self.table["key"].filter(self.table[name]).to_numpy().astype(np.uint32)
                found[name.removeprefix("in_")] = base64.b64encode(BitMap(keys).serialize()).decode()
        return found

    @property
    def twins(self) -> pa.Table | None:
        """(pseudonym, person) of everyone whom the register knows as one person with another one of the crosswalk:
        k counts them once, whether or not the project may know. None where one cohort is asked for."""
        if "counted" not in self.table.column_names:
            return None
        counted = self.table["counted"].to_numpy()
        _found, place, size = np.unique(counted, return_inverse=True, return_counts=True)
        twins = self.table.select(["pseudonym", "counted"]).rename_columns(["pseudonym", "person"])
        return twins.filter(pa.array(size[place] > 1))


def covered_now(
    session: Session, of: Behind, domains: Iterable[str], purpose: Mapping[str, Any] | None, on: date
) -> dict[str, Keys]:
    """Per domain the sorted keys of the people of these cohorts whose consent covers the purpose on this day.

    Of returned data they cover every domain that these were made of as well."""
    asked = sorted(set(domains))
    each = {
        d: np.sort(np.concatenate([consenting(session, one, d, purpose, on) for one in of.ids]))
        for d in sorted({need for one in asked for need in of.needs(one)})
    }
    return {d: _in_all([each[need] for need in of.needs(d)]) for d in asked}


def _in_all(sets: Sequence[Keys]) -> Keys:
    found = sets[0]
    for other in sets[1:]:
        found = np.intersect1d(found, other, assume_unique=True)
    return found


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
    linkage: Linkage | None = None,
) -> Crosswalk:
    """The crosswalk of a project over the cohorts of a version, ordered by participant key; dates move by up to
    `shift_weeks`.

    Consent is always read now. `known` (key, name: the 64 bits of the pseudonym, shift_days; ascending by key) is what
    this project's last generation derived from the same key, random ids and weeks, which never change: only others are
    derived again. With `linkage`, participants of several cohorts who are the same person share pseudonym, rank, slice
    and shift, where both agreed to be linked; else everybody is a person of their own, and nothing is `known`."""
    covered = covered_now(session, of, domains, purpose, on)
    if not with_deceased:
        covered = {
            d: np.setdiff1d(keys, _deceased(session, of), assume_unique=True) for d, keys in covered.items()
        }
    anyone = together(covered.values())
    person, columns, given = anyone, dict[str, Any](), dict[int, bytes]()
    if of.only is None:
        columns["counted"] = linking.representatives(session, of, anyone)
    if linkage is not None and of.only is None:
        sources = linking.sources_of_keys(session, linkage.names, anyone)
        held = linking.seeds(session, linkage.project_id)
        person = _together(columns["counted"], sources, held, anyone, linkage.least)
        ids, given = _seeded(random_ids(session, of.ids, anyone), anyone, person, held, project_key)
        columns["person"] = person
        found, place = np.unique(person, return_inverse=True)
        ids = ids[np.searchsorted(anyone, found)]
        names = pseudonyms.pseudonyms(project_key, ids)
        shifts = pseudonyms.shift_days(project_key, ids, 7 * shift_weeks)
    else:
        place = np.arange(len(anyone))
        names, shifts = _derived(session, of.ids, project_key, anyone, 7 * shift_weeks, known)
    order = _order(names)
    rank = np.empty(len(names), dtype=np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    table: dict[str, Any] = {
        "key": anyone,
        "rank": rank[place],
        "pseudonym": pa.array(names[place], pa.binary()).cast(pa.string()),
        "slice": slices(names)[place],
        "shift_days": shifts[place],
    }
    for domain, keys in covered.items():
        table[f"in_{domain}"] = among(anyone, keys)
    return Crosswalk(pa.table({**table, **columns}), covered, of.epoch, on, given)


def _together(person: Keys, sources: Names, held: Mapping[int, bytes], keys: Keys, least: int) -> Keys:
    """The persons without links that would single people out: a set of sources that fewer than `least` people have in
    common is not linked. Whom the project was given as one before stays one: its holder knows already."""
    sets = _sets(sources, person)
    _found, place, size = np.unique(person, return_inverse=True, return_counts=True)
    is_linked = size[place] > 1
    before = np.isin(person, person[np.isin(keys, np.array(sorted(held), dtype=np.int32))])
    few = [name for name in np.unique(sets[is_linked]) if len(np.unique(person[sets == name])) < least]
    apart = is_linked & ~before & np.isin(sets, few)
    return np.where(apart, keys, person).astype(np.int32)


def _seeded(
    ids: pseudonyms.Ids, keys: Keys, person: Keys, held: Mapping[int, bytes], project_key: bytes
) -> tuple[pseudonyms.Ids, dict[int, bytes]]:
    """The ids that pseudonyms are derived from, those of linked people replaced by their seed; and these seeds by key.

    A seed stays with a person who is as they were, whose other participant left, or to whom somebody came while all are
    still here. Who is linked no more, though both are still here, goes back to their own; who is linked to others than
    before gets a new seed, of all their ids: a name that others had, and may have taken back, is never given to them.
    """
    made, given = ids.copy(), dict[int, bytes]()
    secret = pseudonyms.subkey(project_key, "linked")
    members: dict[int, list[int]] = {}
    for i, one in enumerate(person.tolist()):
        members.setdefault(one, []).append(i)
    holders, here = dict[bytes, set[int]](), set(keys.tolist())
    for key, seed in held.items():
        holders.setdefault(seed, set()).add(key)
    for places in members.values():
        own = {int(keys[i]) for i in places}
        kept = sorted({held[key] for key in own if key in held and _stays(own, holders[held[key]], here)})
        if kept:
            seed = kept[0]
        elif len(own) > 1:
            seed = hmac.digest(secret, ids[places].tobytes(), "sha256")[: pseudonyms.ID_BYTES]
        else:
            continue
        for i in places:
            made[i], given[int(keys[i])] = np.frombuffer(seed, dtype=np.uint8), seed
    return made, given


def _stays(own: set[int], holders: set[int], here: set[int]) -> bool:
    """Whether a seed stays with those who hold it, of whom a person `own` has some: nobody of them is somebody else's
    by now, and nobody came where one of them has gone."""
    return holders & here <= own and (own <= holders or (holders <= own and len(holders) > 1))


def _sets(sources: Names, person: Keys) -> Names:
    """For each row the names of all sources of its person, sorted, joined by a plus."""
    of_person: dict[int, set[str]] = {}
    for one, name in zip(person.tolist(), sources.tolist(), strict=True):
        of_person.setdefault(one, set()).add(name)
    named = {one: "+".join(sorted(names)) for one, names in of_person.items()}
    return np.array([named[one] for one in person.tolist()], dtype=np.str_)


def project_ids(session: Session, of: Behind, project_id: str, keys: Keys) -> pseudonyms.Ids:
    """What the pseudonyms of these keys (sorted) are derived from in a project: their random ids, or the seed of whom
    it knows as linked. Two keys of one person have the same."""
    ids, held = random_ids(session, of.ids, keys).copy(), linking.seeds(session, project_id)
    for i, key in enumerate(keys.tolist()):
        if (seed := held.get(key)) is not None:
            ids[i] = np.frombuffer(seed, dtype=np.uint8)
    return ids


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
    was, place = among(anyone, held), np.searchsorted(held, anyone)
    ids = random_ids(session, cohort_ids, anyone[~was])
    names, shifts = np.empty(len(anyone), dtype="S16"), np.empty(len(anyone), dtype=np.int32)
    names[was] = pseudonyms.as_names(known["name"].to_numpy()[place[was]])
    shifts[was] = known["shift_days"].to_numpy()[place[was]]
    names[~was] = pseudonyms.pseudonyms(project_key, ids)
    shifts[~was] = pseudonyms.shift_days(project_key, ids, most_days)
    return names, shifts


def together(sets: Iterable[Keys]) -> Keys:
    """The keys that are in any of the sets, sorted, each once; so are those of each set. (np.unique hashes: 1 s a
    million keys.)"""
    anyone = np.empty(0, dtype=np.int32)
    for keys in sets:
        anyone = np.sort(np.concatenate([anyone, keys[~among(keys, anyone)]])).astype(np.int32)
    return anyone


def among(keys: Keys, others: Keys) -> npt.NDArray[np.bool_]:
    """Of each of the keys, whether it is one of the others; both sorted, without a key twice."""
    if not len(others):
        return np.zeros(len(keys), dtype=np.bool_)
    if np.array_equal(keys, others):  # as a rule everybody consents
        return np.ones(len(keys), dtype=np.bool_)
    place = np.minimum(np.searchsorted(others, keys), len(others) - 1)
    return np.asarray(others[place] == keys)


def _order(names: npt.NDArray[np.bytes_]) -> npt.NDArray[np.intp]:
    """The places of the pseudonyms in ascending order; two alike would merge two people."""
    words = pseudonyms.as_words(names)
    order = np.argsort(words, kind="stable")
    if alike := int((np.diff(words[order]) == 0).sum()):
        raise pseudonyms.PseudonymError(f"{alike} of {len(names)} pseudonyms are not unique")
    return order


def _deceased(session: Session, of: Behind) -> Keys:
    query = select(laid.numbers(Participant.key)).where(
        Participant.cohort_id.in_(of.ids), Participant.deceased
    )
    return laid.as_numbers(session.scalar(query))


def slices(names: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint32]:
    """The first 32 bits of each pseudonym (S16): its place among the parts."""
    first = names.astype("S8").tobytes().decode()
    return np.frombuffer(bytes.fromhex(first), dtype=">u4").astype(np.uint32)


def random_ids(session: Session, cohort_ids: Sequence[str], keys: Keys) -> pseudonyms.Ids:
    """The random ids of `keys` (sorted), uint8 (n, 16), in the order of the keys."""
    connection, person = session.connection(), Participant
    query = select(laid.pairs(connection, person.key, person.random_id)).where(
        _cohort.in_(cohort_ids), func.length(person.random_id) == pseudonyms.ID_BYTES
    )
    named = query.where(laid.one_of(connection, person.key, "keys"))
    between = query.where(person.key.between(bindparam("first"), bindparam("last")))
    found = [np.empty((0, pseudonyms.ID_BYTES), dtype=np.uint8)]
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        first, last = int(batch[0]), int(batch[-1])
        # Some people out of many are named one by one; else those between the first and the last are read. To find a
        # row by its key costs twice what the next row costs.
        if last - first > 2 * len(batch):
            told = connection.scalar(named, {"keys": laid.given(connection, batch.tolist())})
        else:
            told = connection.scalar(between, {"first": first, "last": last})
        read, ids = laid.as_pairs(told, pseudonyms.ID_BYTES)
        order = np.argsort(read, kind="stable")
        found.append(ids[order[among(read[order], batch)]])
    ids = np.concatenate(found)
    if len(ids) != len(keys):
        raise LookupError("a consent without its participant")
    return ids


def named(
    session: Session, of: Behind, project_id: str, keys: Keys, project_key: bytes, pseudonym: str
) -> int | None:
    """Which of these people (sorted keys) a project knows by this pseudonym; None where it is none of them. Of a linked
    person it is their first participant among the keys."""
    if not len(keys):
        return None
    ids, first = np.unique(project_ids(session, of, project_id, keys), axis=0, return_index=True)
    names = pseudonyms.pseudonyms(project_key, ids)
    found = keys[first[names == pseudonym.encode()]]
    return int(found[0]) if len(found) else None


def known_among(
    session: Session,
    of: Behind,
    project_id: str,
    keys: Keys,
    project_key: bytes,
    words: npt.NDArray[np.bytes_],
) -> npt.NDArray[np.bytes_]:
    """Those of the words (S16, sorted) that a project knows as pseudonyms of these people (sorted keys), in batches.
    Who was destroyed has another id by now, and is not found."""
    found = [np.empty(0, dtype="S16")]
    for cohort_id in of.ids if len(keys) else ():
        here = linking.of_cohort(session, cohort_id, keys)
        for start in range(0, len(here), _BATCH):
            ids = project_ids(session, of, project_id, here[start : start + _BATCH])
            names = pseudonyms.pseudonyms(project_key, np.unique(ids, axis=0))
            found.append(np.intersect1d(names, words))
    return np.unique(np.concatenate(found))
