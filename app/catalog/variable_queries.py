"""The SQL of the index of variables: what is in it, what of it may be shown, what a search finds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.catalog.queries import held_by
from app.catalog.variables import Said
from app.db import new_id
from app.models import (
    Cohort,
    Dataset,
    DatasetVersion,
    Institution,
    Job,
    Variable,
    VariableIndex,
    VariableVersion,
    VaultTable,
)
from app.storage.held import objects_of

SHOWN = ("published", "superseded")
"""The states of versions that are told, of datasets of which a version is published."""

_FIELDS = {
    "name": Variable.by_name, "label": Variable.by_label, "code": Variable.by_code, "concept": Variable.by_concept,
}  # fmt: skip
People = tuple[int | None, int | None]  # of the table, and those with a value


def found(
    session: Session,
    words: Sequence[str],
    fields: Collection[str],
    *,
    begins: bool,
    key: str | None,
    after: str | None,
    limit: int,
) -> list[Variable]:
    """Variables in which every word occurs in one of the fields, by key and id; those that may be shown alone."""
    query = select(Variable).where(_may_be_shown())
    for word in words:
        asked = f" {word}" if begins else word
        # Folded texts have no capitals, so that LIKE means the same on both databases.
        query = query.where(or_(*(_FIELDS[name].contains(asked, autoescape=True) for name in sorted(fields))))
    if key is not None:
        query = query.where(Variable.key == key)
    if after is not None:
        before = session.get(Variable, after)
        if before is None:
            return []
        query = query.where(tuple_(Variable.key, Variable.id) > tuple_(before.key, before.id))
    return list(session.scalars(query.order_by(Variable.key, Variable.id).limit(limit)))


def versions_of(
    session: Session, variables: Collection[str]
) -> dict[str, list[tuple[DatasetVersion, People]]]:
    """The shown versions that have these variables, by number."""
    query = (
        select(VariableVersion, DatasetVersion)
        .join(DatasetVersion, DatasetVersion.id == VariableVersion.version_id)
        .where(VariableVersion.variable_id.in_(variables), DatasetVersion.state.in_(SHOWN))
        .order_by(DatasetVersion.number)
    )
    held: dict[str, list[tuple[DatasetVersion, People]]] = {}
    for row, version in session.execute(query):
        held.setdefault(row.variable_id, []).append((version, (row.people, row.filled)))
    return held


def datasets(
    session: Session, newest: Mapping[str, str]
) -> dict[str, tuple[Dataset, list[tuple[Cohort, Institution]]]]:
    """Datasets by id, each with the cohorts behind it and who holds them; `newest` has a version of each."""
    query = select(Dataset, Cohort, Institution).where(Dataset.id.in_(newest))
    own = query.outerjoin(Cohort, Cohort.id == Dataset.cohort_id).outerjoin(
        Institution, Institution.id == Cohort.institution_id
    )
    return {
        row.id: (row, [(cohort, holder)] if cohort else held_by(session, newest[row.id]))
        for row, cohort, holder in session.execute(own)
    }


def unindexed(session: Session, most: int) -> list[str]:
    """Versions that may be shown, are not in the index, and that no job is about to take into it."""
    indexed = exists().where(VariableIndex.version_id == DatasetVersion.id)
    waits = exists().where(
        Job.subject == DatasetVersion.id, Job.kind == "index_variables",
        Job.state.in_(("waiting", "queued", "running", "parked")),
    )  # fmt: skip
    query = select(DatasetVersion.id).where(DatasetVersion.state.in_(SHOWN), ~indexed, ~waits)
    return list(session.scalars(query.order_by(DatasetVersion.id).limit(most)))


def stored_tables(session: Session, version_id: str) -> dict[str, tuple[str, ...]]:
    """Table -> the objects of its newest generation in the vault; empty for a united version."""
    query = select(VaultTable).where(VaultTable.version_id == version_id, VaultTable.removed_by.is_(None))
    newest = {row.table_name: row for row in session.scalars(query.order_by(VaultTable.generation))}
    return {name: objects_of(session, row) for name, row in newest.items()}


def index(
    session: Session, version: DatasetVersion, said: Sequence[Said], counted: Mapping[tuple[str, str], People],
    at: datetime,
) -> None:  # fmt: skip
    """Take a version into the index, once; rows of variables that are said alike already are shared."""
    if session.get(VariableIndex, version.id) is not None:
        return
    query = select(Variable.table_name, Variable.name, Variable.digest, Variable.id)
    rows = session.execute(query.where(Variable.dataset_id == version.dataset_id))
    known = {(table, name, digest): variable_id for table, name, digest, variable_id in rows}
    new = {
        (one.table, one.name, one.digest): new_id("var") for one in said
        if (one.table, one.name, one.digest) not in known
    }  # fmt: skip
    session.add_all(
        Variable(
            id=new[place], dataset_id=version.dataset_id, table_name=one.table, name=one.name, digest=one.digest,
            key=one.key, by_name=one.by_name, by_label=one.by_label, by_code=one.by_code,
            by_concept=one.by_concept, about=one.about,
        )
        for one in said if (place := (one.table, one.name, one.digest)) in new
    )  # fmt: skip
    session.flush()
    ids = {**known, **new}
    for one in said:
        people, filled = counted.get((one.table, one.name), (None, None))
        variable_id = ids[one.table, one.name, one.digest]
        session.add(
            VariableVersion(variable_id=variable_id, version_id=version.id, people=people, filled=filled)
        )
    session.add(VariableIndex(version_id=version.id, at=at))
    session.flush()


def _may_be_shown() -> ColumnElement[bool]:
    """The dataset has a published version, and a version that is shown has the variable: asked at every search, so
    that what is withdrawn is gone from the next one on."""
    now, theirs = aliased(DatasetVersion), aliased(DatasetVersion)
    return and_(
        # Not `IN`: SQLite would begin with the datasets and sort what it finds, and not walk the order of keys.
        exists().where(now.dataset_id == Variable.dataset_id, now.state == "published"),
        exists()
        .where(VariableVersion.variable_id == Variable.id)
        .where(theirs.id == VariableVersion.version_id, theirs.state.in_(SHOWN)),
    )
