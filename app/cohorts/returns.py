"""Returned data: a project gives back what it made; people are found by their pseudonyms, consent is inherited.

The returned tables become a dataset of the cohort that the extract came from. Its holder fills the first version, the
institution looks at it, hands it in and a steward publishes it, as any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import institution_stream, project_stream, record
from app.auth import policy
from app.auth.policy import Actor, ProjectFacts
from app.clock import Clock
from app.consents.cohorts import behind
from app.db import Database, new_id
from app.deid.roles import check_dictionary
from app.errors import Finding, Problem, not_found, refuse_all
from app.models import Cohort, DataReturn, Dataset, DatasetVersion, Extract, Permit, Project, Upload
from app.permits import must_be_live
from app.schemas.dictionary import Dictionary
from app.schemas.plan import Plan, digest

View = dict[str, Any]


@dataclass(frozen=True)
class ReturnService:
    """The verbs of returned data; its files are uploads, its checks the usual jobs."""

    db: Database
    clock: Clock

    def offer(self, actor: Actor, extract_id: str, body: Mapping[str, Any]) -> View:
        """A new dataset with a draft that the holder of the extract fills. Problems: `conflict` where nothing was
        handed out or several cohorts are behind it, `permit_not_live`, `dictionary_invalid` with every finding."""
        now = self.clock()
        checked = check_dictionary(body["dictionary"])
        with self.db.unit_of_work() as session:
            extract, permit, facts = _extract(session, extract_id)
            policy.must_return_data(actor, facts)
            cohort = _returnable(session, extract, permit, now.date())
            domains = _made_of(_domains(session, permit), body["made_of"])
            refuse_all(
                "dictionary_invalid",
                "The dictionary does not fit returned data.",
                _findings(checked, domains),
            )
            dictionary = _strict(checked).model_dump(mode="json")
            held = Dataset(
                id=new_id("ds"), cohort_id=cohort.id, name=body["name"], name_ko=body["name_ko"],
                description=body["description"], keywords=body["keywords"], created_at=now,
            )  # fmt: skip
            try:
                with session.begin_nested():
                    session.add(held)
                    session.flush()
            except IntegrityError:
                raise Problem("conflict", "The cohort has a dataset of that name.") from None
            version = DatasetVersion(
                id=new_id("ver"), dataset_id=held.id, number=1, state="draft", dictionary=dictionary,
                dictionary_digest=digest(dictionary), report=None, people=0, revision=2, created_at=now,
                published_at=None,
            )  # fmt: skip
            session.add(version)
            session.flush()
            row = DataReturn(
                id=new_id("ret"), dataset_id=held.id, version_id=version.id, cohort_id=cohort.id, extract_id=extract.id,
                generation=extract.generation, permit_id=permit.id, project_id=extract.project_id,
                source_version_id=permit.version_id, purpose=permit.purpose, domains=domains,
                returned_by=actor.subject, returned_at=now,
            )  # fmt: skip
            session.add(row)
            session.flush()
            data = {
                "dataset": held.id,
                "extract": extract.id,
                "generation": extract.generation,
                "permit": permit.id,
            }
            for stream in (institution_stream(cohort.institution_id), project_stream(extract.project_id)):
                record(
                    session, stream=stream, event="return.offered", actor=actor.subject, object_id=row.id, at=now,
                    data=data,
                )  # fmt: skip
            return _view(session, row)

    def get(self, actor: Actor, return_id: str) -> View:
        """One return with its version's state and what became of its files: for its holder and who holds the cohort."""
        with self.db.read() as session:
            row = returned(session, return_id)
            policy.must_read_return(actor, _facts(session, row))
            return _view(session, row)

    def listed(self, actor: Actor, after: str | None, limit: int) -> list[View]:
        """What the actor returned, or what came back to their institution; newest first."""
        with self.db.read() as session:
            theirs = select(Cohort.id).where(Cohort.institution_id == actor.institution_id)
            mine = DataReturn.returned_by == actor.subject
            if actor.role in ("institution", "steward"):
                everything = actor.role == "steward" and actor.institution_id is None
                mine = or_(
                    mine,
                    DataReturn.cohort_id.is_not(None) if everything else DataReturn.cohort_id.in_(theirs),
                )
            query = select(DataReturn).where(mine)
            if after:
                query = query.where(DataReturn.id < after)
            return [
                _view(session, row)
                for row in session.scalars(query.order_by(DataReturn.id.desc()).limit(limit))
            ]

    def version_of(self, actor: Actor, return_id: str) -> str:
        """The version that the files of a return go to, for whoever returns them."""
        with self.db.read() as session:
            row = returned(session, return_id)
            policy.must_send_return(actor, _facts(session, row))
            return row.version_id


def returned(session: Session, return_id: str) -> DataReturn:
    """A return; a Problem where there is none."""
    if (row := session.get(DataReturn, return_id)) is None:
        raise not_found("return")
    return row


def lineage_of(session: Session, version_id: str) -> DataReturn | None:
    """Where the dataset of a version comes from; None where it was not returned."""
    query = select(DataReturn).join(DatasetVersion, DatasetVersion.dataset_id == DataReturn.dataset_id)
    return session.scalar(query.where(DatasetVersion.id == version_id))


def must_take(session: Session, actor: Actor, row: DataReturn, on: date) -> None:
    """Only whoever returned the data knows the people by the pseudonyms in them, and only under a live permit."""
    policy.must_send_returned_version(actor, _facts(session, row))
    must_be_live(session, row.permit_id, on)


def _extract(session: Session, extract_id: str) -> tuple[Extract, Permit, ProjectFacts]:
    extract = session.get(Extract, extract_id)
    if extract is None:
        raise not_found("extract")
    permit = session.get_one(Permit, extract.permit_id)
    first, *others = behind(session, permit.version_id).institutions
    holder = session.get_one(Project, extract.project_id).holder
    return extract, permit, ProjectFacts(holder, first, tuple(others))


def _facts(session: Session, row: DataReturn) -> ProjectFacts:
    """Whoever returned them holds them until they are the institution's."""
    return ProjectFacts(row.returned_by, session.get_one(Cohort, row.cohort_id).institution_id)


def _returnable(session: Session, extract: Extract, permit: Permit, on: date) -> Cohort:
    if extract.generation == 0:
        raise Problem("conflict", "Nothing of this extract was handed out yet.")
    must_be_live(session, permit.id, on)
    of = behind(session, permit.version_id)
    if of.only is None:
        raise Problem("conflict", "Data made of several cohorts cannot come back as one dataset.")
    return of.cohorts[0]


def _domains(session: Session, permit: Permit) -> list[str]:
    """Every domain that the data were made of, those that a returned source inherited among them."""
    document = session.get_one(DatasetVersion, permit.version_id).dictionary or {}
    dictionary, of = Dictionary.model_validate(document), behind(session, permit.version_id)
    tables = Plan.model_validate(permit.plan).tables
    return sorted({str(dictionary.table(t.name).domain) for t in tables} | set(of.inherits))


def _made_of(domains: list[str], said: list[str]) -> list[str]:
    """Those of the extract's domains that the data were made of: what the holder says, by default all of them."""
    if strange := sorted(set(said) - set(domains)):
        detail = f"the extract holds {', '.join(domains)}"
        found = [Finding("wrong_domain", detail, count=len(strange), pointer="/made_of")]
        raise Problem("invalid_request", "Data are made of what was handed out.", found)
    return sorted(set(said)) or domains


def _findings(dictionary: Dictionary, domains: list[str]) -> Iterator[Finding]:
    for i, table in enumerate(dictionary.tables):
        if table.kind != "reference" and table.domain not in domains:
            detail = f"the data were made of {', '.join(domains)} alone, and stay under that consent"
            yield Finding("wrong_domain", detail, table.name, pointer=f"/dictionary/tables/{i}/domain")
        for column in table.of_role("participant_id"):
            if column.type != "string":
                yield Finding(
                    "contradiction", "people are known by pseudonyms, which are text", table.name, column.name,
                    pointer=f"/dictionary/tables/{i}/fields",
                )  # fmt: skip
        for column in table.of_role("linkage_token"):
            yield Finding(
                "contradiction", "a project has no linkage tokens to give back", table.name, column.name,
                pointer=f"/dictionary/tables/{i}/fields",
            )  # fmt: skip


def _strict(dictionary: Dictionary) -> Dictionary:
    """No row of a pseudonym that is nobody's is left out quietly: the file is refused."""
    tables = tuple(
        t.model_copy(update={"max_unmatched": 0.0}) if t.kind in ("event", "link") else t
        for t in dictionary.tables
    )
    return dictionary.model_copy(update={"tables": tables})


def _view(session: Session, row: DataReturn) -> View:
    version = session.get_one(DatasetVersion, row.version_id)
    held = session.get_one(Dataset, row.dataset_id)
    query = select(Upload).where(Upload.version_id == row.version_id).order_by(Upload.created_at, Upload.id)
    newest = {upload.table_name: upload for upload in session.scalars(query)}
    return {
        "id": row.id, "dataset_id": row.dataset_id, "version_id": row.version_id, "state": version.state,
        "name": held.name, "name_ko": held.name_ko, "cohort_id": row.cohort_id,
        "lineage": {
            "extract_id": row.extract_id, "generation": row.generation, "permit_id": row.permit_id,
            "project_id": row.project_id, "source_version_id": row.source_version_id, "purpose": row.purpose,
            "domains": row.domains,
        },
        "files": [
            {"table": table, "upload_id": one.id, "state": one.state,
             "problems": (one.report or {}).get("problems", [])}
            for table, one in newest.items()
        ],
        "returned_at": row.returned_at,
    }  # fmt: skip
