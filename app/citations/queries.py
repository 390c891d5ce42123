"""The SQL of citations: a version with who made and holds it, its relatives by DOI, publications of its permits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.auth.policy import PermitFacts, VersionFacts
from app.consents.cohorts import behind
from app.errors import not_found
from app.models import (
    Account,
    Cohort,
    DataReturn,
    Dataset,
    DatasetVersion,
    Institution,
    Permit,
    Project,
    Publication,
    VersionSource,
)
from app.standards.datacite import Creator, Described, Organisation, Related

View = dict[str, Any]
_Row = TypeVar("_Row", Account, Institution)


@dataclass(frozen=True, slots=True)
class Held:
    """A version, its dataset, the institutions that hold its people, and what the policy needs to know."""

    version: DatasetVersion
    dataset: Dataset
    holders: tuple[Institution, ...]
    facts: VersionFacts


def version(session: Session, version_id: str, *, lock: bool = False) -> Held:
    """A version (locked where asked) with who holds it; a Problem where there is none."""
    row = session.get(DatasetVersion, version_id, with_for_update=lock, populate_existing=True)
    if row is None:
        raise not_found("dataset version")
    ids = behind(session, version_id).institutions
    holders = tuple(session.get_one(Institution, one) for one in ids)
    facts = VersionFacts(ids[0], row.state, tuple(ids[1:]))
    return Held(row, session.get_one(Dataset, row.dataset_id), holders, facts)


def own_dataset(session: Session, dataset_id: str) -> tuple[Dataset, Cohort]:
    """A dataset of one cohort, locked; a Problem where there is none."""
    row = session.get(Dataset, dataset_id, with_for_update=True, populate_existing=True)
    if row is None or row.cohort_id is None:
        raise not_found("dataset")
    return row, session.get_one(Cohort, row.cohort_id)


def known_institutions(session: Session, ids: Sequence[str]) -> set[str]:
    """Those of the ids that are institutions."""
    return set(session.scalars(select(Institution.id).where(Institution.id.in_(ids))))


def institution(session: Session, institution_id: str) -> Institution:
    """An institution, locked; a Problem where there is none."""
    return _locked(session, Institution, institution_id, "institution")


def account(session: Session, account_id: str) -> Account:
    """An account, locked; a Problem where there is none."""
    return _locked(session, Account, account_id, "account")


def permit(session: Session, permit_id: str) -> tuple[Permit, PermitFacts]:
    """A permit and who holds it and its data; a Problem where there is none."""
    row = session.get(Permit, permit_id)
    if row is None:
        raise not_found("permit")
    first, *others = behind(session, row.version_id).institutions
    return row, PermitFacts(session.get_one(Project, row.project_id).holder, first, tuple(others))


def described(session: Session, held: Held, address: str | None) -> Described:
    """The version as it is cited. Without creators of its own it was made by those who hold it."""
    holders = [organisation(one) for one in held.holders]
    given = [_creator(session, one) for one in held.dataset.creators]
    published = held.version.published_at
    if published is None:
        raise not_found("published dataset version")
    return Described(
        doi=held.version.doi, title=held.dataset.name, title_ko=held.dataset.name_ko,
        creators=given or [Creator("", organisation=one) for one in holders], publisher=holders[0],
        published=published.date(), version=str(held.version.number), description=held.dataset.description,
        subjects=[str(word) for word in held.dataset.keywords], holders=holders,
        related=list(_related(session, held.version)), alternate=held.version.id, url=address,
    )  # fmt: skip


def organisation(row: Institution) -> Organisation:
    """An institution as it is cited."""
    return Organisation(row.name, row.name_ko, row.ror)


def publications(
    session: Session,
    *,
    permit_id: str | None = None,
    version_id: str | None = None,
    after: str | None,
    limit: int,
) -> list[View]:
    """Publications of a permit, or of all permits of a version; newest first."""
    query = select(Publication).join(Permit, Permit.id == Publication.permit_id)
    if permit_id is not None:
        query = query.where(Publication.permit_id == permit_id)
    if version_id is not None:
        query = query.where(Permit.version_id == version_id)
    if after:
        query = query.where(Publication.id < after)
    return [
        publication_view(row) for row in session.scalars(query.order_by(Publication.id.desc()).limit(limit))
    ]


def publication_view(row: Publication) -> View:
    """A publication; who reported it is not told, the paper has its authors."""
    names = ("id", "doi", "title", "year", "reported_at")
    return {name: getattr(row, name) for name in names}


def _related(session: Session, row: DatasetVersion) -> Iterator[Related]:
    """Versions before and after it, its sources and what was united of it, papers: those with a DOI."""
    siblings = select(DatasetVersion).where(
        DatasetVersion.dataset_id == row.dataset_id,
        DatasetVersion.id != row.id,
        DatasetVersion.doi.is_not(None),
    )
    for other in session.scalars(siblings.order_by(DatasetVersion.number)):
        relation = "IsNewVersionOf" if other.number < row.number else "IsPreviousVersionOf"
        yield Related(relation, str(other.doi))
    links = select(VersionSource).where(
        or_(VersionSource.version_id == row.id, VersionSource.source_version_id == row.id)
    )
    for link in session.scalars(links.order_by(VersionSource.version_id, VersionSource.source_version_id)):
        made_of = link.version_id == row.id
        theirs = session.get_one(DatasetVersion, link.source_version_id if made_of else link.version_id).doi
        if theirs:
            yield Related("IsDerivedFrom" if made_of else "IsSourceOf", theirs)
    returned = select(DatasetVersion.doi).join(DataReturn, DataReturn.source_version_id == DatasetVersion.id)
    for doi in session.scalars(returned.where(DataReturn.dataset_id == row.dataset_id)):
        if doi:
            yield Related("IsDerivedFrom", doi)
    papers = select(Publication.doi).join(Permit, Permit.id == Publication.permit_id)
    for doi in session.scalars(
        papers.where(Permit.version_id == row.id).distinct().order_by(Publication.doi)
    ):
        yield Related("IsCitedBy", doi, "JournalArticle")


def _creator(session: Session, one: Mapping[str, Any]) -> Creator:
    where = session.get(Institution, one["affiliation_id"]) if one.get("affiliation_id") else None
    given, family = str(one.get("given_name") or ""), str(one.get("family_name") or "")
    name = f"{family}, {given}" if given and family else str(one["name"])
    return Creator(name, given, family, one.get("orcid"), organisation(where) if where else None)


def _locked(session: Session, table: type[_Row], row_id: str, noun: str) -> _Row:
    row = session.get(table, row_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise not_found(noun)
    return row
