"""Who is one person among the participants of several cohorts, asked of the register at this moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.consents import laid
from app.consents.cohorts import Behind
from app.consents.linkage import linked
from app.consents.states import HOLDING
from app.models import Consent, Dataset, DatasetVersion, LinkedPerson, Participant, VersionSource

Keys = npt.NDArray[np.int32]
_BATCH = 100_000


@dataclass(frozen=True)
class Linkage:
    """The permit's word that people are linked: `names` has the source's name of each cohort, `project_id` whose memory
    of earlier links counts (None: a dry run), `least` the fewest people that a set of sources may have in common."""

    names: Mapping[str, str]
    project_id: str | None
    least: int


def names_of_sources(session: Session, version_id: str) -> dict[str, str]:
    """Cohort -> the name under which a united version holds its rows."""
    query = (
        select(Dataset.cohort_id, VersionSource.name)
        .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        .join(VersionSource, VersionSource.source_version_id == DatasetVersion.id)
        .where(VersionSource.version_id == version_id)
    )
    return {str(cohort_id): name for cohort_id, name in session.execute(query)}


def representatives(session: Session, of: Behind, keys: Keys) -> Keys:
    """For each of the keys (sorted) the smallest of them that is the same person: itself where nobody is linked.

    Linked are those who brought the same token and agreed to it in both cohorts (`linkage.linked`).
    """
    known = linked(session, of.ids)
    person = known.person[np.searchsorted(known.keys, keys)]
    _people, first, of_key = np.unique(person, return_index=True, return_inverse=True)
    return keys[first][of_key].astype(np.int32)


def anyones_representative(session: Session, of: Behind) -> tuple[Keys, Keys]:
    """(keys, representatives) of everyone in the cohorts, whether or not they consent: for comparing sets of people."""
    known = linked(session, of.ids)
    _people, first, of_key = np.unique(known.person, return_index=True, return_inverse=True)
    return known.keys, known.keys[first][of_key].astype(np.int32)


def as_people(session: Session, of: Behind) -> Callable[[BitMap], BitMap]:
    """What turns a set of participant keys into one of people: of the keys of one person, one is left."""
    if len(of.cohorts) == 1:
        return lambda keys: keys
    known, first = anyones_representative(session, of)
    other = dict(zip(known[known != first].tolist(), first[known != first].tolist(), strict=True))
    second = BitMap(other)

    def people(keys: BitMap) -> BitMap:
        return (keys - second) | BitMap(other[key] for key in keys & second)

    return people


def of_cohort(session: Session, cohort_id: str, keys: Keys) -> Keys:
    """Those of the keys (sorted) that are people of this cohort."""
    # Read by their keys, batch by batch; by an index of cohorts SQLite would go through all for each.
    query = select(laid.numbers(Participant.key)).where(
        func.coalesce(Participant.cohort_id, "") == cohort_id,
        Participant.key.between(bindparam("first"), bindparam("last")),
    )
    connection, found = session.connection(), [np.empty(0, dtype=np.int32)]
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        told = connection.scalar(query, {"first": int(batch[0]), "last": int(batch[-1])})
        found.append(np.intersect1d(batch, laid.as_numbers(told), assume_unique=True).astype(np.int32))
    return np.concatenate(found)


def sources_of_keys(session: Session, names: Mapping[str, str], keys: Keys) -> npt.NDArray[np.str_]:
    """The name of the source of each key (sorted); KeyError for one of no source."""
    of, cohort_ids = np.full(len(keys), -1), sorted(names)
    for number, cohort_id in enumerate(cohort_ids):
        of[np.searchsorted(keys, of_cohort(session, cohort_id, keys))] = number
    if (of < 0).any():
        raise KeyError("a participant of no source")
    told: npt.NDArray[np.str_] = np.array([names[one] for one in cohort_ids], dtype=np.str_)[of]
    return told


def seeds(session: Session, project_id: str | None) -> dict[int, bytes]:
    """Participant key -> seed, of everyone whom the project was given as linked."""
    query = select(LinkedPerson.participant_key, LinkedPerson.seed).where(
        LinkedPerson.project_id == project_id
    )
    return {row[0]: row[1] for row in session.execute(query)} if project_id else {}


def remember(session: Session, project_id: str, given: Mapping[int, bytes]) -> None:
    """Keep the seeds that a generation was made with, also of whom another was kept: a notice of recall must give the
    name that the generation has."""
    known = seeds(session, project_id)
    for key, seed in sorted(given.items()):
        if key not in known:
            session.add(LinkedPerson(project_id=project_id, participant_key=key, seed=seed))
        elif known[key] != seed:
            session.get_one(LinkedPerson, (project_id, key)).seed = seed
    session.flush()


def forget_parted(session: Session, project_id: str, keys: Iterable[int]) -> None:
    """Of a generation: whoever is in it (`keys`) by their own pseudonym is linked no more in this project."""
    own, held = set(keys), seeds(session, project_id)
    for key in sorted(held.keys() & own):
        session.delete(session.get_one(LinkedPerson, (project_id, key)))
    session.flush()


def given_as_one(session: Session, project_id: str, keys: Iterable[int]) -> dict[int, list[int]]:
    """For each of these participants whom a project was given as one person with others: the others. Who has none is
    left out."""
    held, together = seeds(session, project_id), dict[bytes, list[int]]()
    for one, seed in held.items():
        together.setdefault(seed, []).append(one)
    others = {key: [one for one in together[held[key]] if one != key] for key in keys if key in held}
    return {key: found for key, found in others.items() if found}


def parted(session: Session, of: Behind, others: Mapping[int, list[int]]) -> dict[int, list[int]]:
    """Of whom a project was given as one person (`given_as_one`), for each participant those whom the register links to
    them no more. Who has none is left out."""
    if not others:
        return {}
    known = linked(session, of.ids)
    person = dict(zip(known.keys.tolist(), known.person.tolist(), strict=True))
    parts = {
        key: [one for one in of_key if person.get(one) != person.get(key)] for key, of_key in others.items()
    }
    return {key: sorted(found) for key, found in parts.items() if found}


def others_hold(session: Session, project_id: str, key: int | None) -> set[str]:
    """The domains of which rows of somebody else rightly stay who has the pseudonym of this person in a project: of a
    minor who came of age, too. Of whoever was destroyed (None) it is not known whose it was as well: of anybody who was
    given there as linked."""
    query = (
        select(Consent.domain)
        .join(LinkedPerson, LinkedPerson.participant_key == Consent.participant_key)
        .where(LinkedPerson.project_id == project_id, Consent.state.in_(HOLDING))
    )
    if key is not None:
        own = select(LinkedPerson.seed).where(
            LinkedPerson.project_id == project_id, LinkedPerson.participant_key == key
        )
        query = query.where(LinkedPerson.participant_key != key, LinkedPerson.seed == own.scalar_subquery())
    return set(session.scalars(query.distinct()))


def projects_of(session: Session, keys: Iterable[int]) -> list[str]:
    """The projects that know one of these participants as linked."""
    query = select(LinkedPerson.project_id).where(LinkedPerson.participant_key.in_(list(keys))).distinct()
    return sorted(session.scalars(query))
