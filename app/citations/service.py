"""The verbs of citations: say who made it, under which ids it is known, how it is cited, what was published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit import PLATFORM, institution_stream, project_stream, record
from app.auth import policy
from app.auth.policy import Actor, CohortFacts
from app.citations import queries
from app.citations.queries import View
from app.clock import Clock
from app.db import Database, new_id
from app.errors import Finding, Problem, not_found, refuse_all
from app.models import Publication
from app.standards import citing, datacite, doi, orcid, ror
from app.standards.datacite_rules import faults

LANDING = "/cite/"


@dataclass(frozen=True)
class CitationService:
    """What is said of datasets, people and institutions so that they can be cited."""

    db: Database
    clock: Clock
    public_url: str

    def set_ror(self, actor: Actor, institution_id: str, given: str | None) -> View:
        """The ROR id of an institution; None takes it away. By the platform."""
        policy.must_administer(actor)
        known = _normal(given, ror.normal, "/ror", "bad_ror", "is no ROR id: its check digits must be right")
        with self.db.unit_of_work() as session:
            row = queries.institution(session, institution_id)
            row.ror = known
            self._note(session, PLATFORM, "institution.identified", actor, row.id, {"ror": known})
            return {"institution_id": row.id, "ror": known}

    def set_orcid(self, actor: Actor, account_id: str, given: str | None) -> View:
        """The ORCID iD of an account; None takes it away. By the platform."""
        policy.must_administer(actor)
        known = _normal(
            given, orcid.normal, "/orcid", "bad_orcid", "is no ORCID iD: its check character must be right"
        )
        with self.db.unit_of_work() as session:
            row = queries.account(session, account_id)
            row.orcid = known
            self._note(session, PLATFORM, "account.identified", actor, row.id, {"set": known is not None})
            return {"account_id": row.id, "orcid": known}

    def set_creators(self, actor: Actor, dataset_id: str, creators: Sequence[Mapping[str, Any]]) -> View:
        """Who made a dataset, in the order in which they are cited; every wrong id is told at once."""
        with self.db.unit_of_work() as session:
            row, of = queries.own_dataset(session, dataset_id)
            policy.must_change_dataset(actor, CohortFacts(of.institution_id))
            refuse_all(
                "invalid_request", "The creators cannot be cited so.", _creator_findings(session, creators)
            )
            row.creators = [
                {**one, "orcid": orcid.normal(one["orcid"]) if one.get("orcid") else None} for one in creators
            ]
            data = {"creators": len(creators)}
            self._note(
                session, institution_stream(of.institution_id), "dataset.creators_set", actor, row.id, data
            )
            return {"dataset_id": row.id, "creators": row.creators}

    def set_doi(self, actor: Actor, version_id: str, given: str) -> View:
        """The DOI under which a published version was registered elsewhere; `conflict` where another version has it."""
        known = _normal(given, doi.normal, "/doi", "bad_doi", "is no DOI such as 10.1234/abc")
        with self.db.unit_of_work() as session:
            held = queries.version(session, version_id, lock=True)
            policy.must_change_version(actor, held.facts)
            if held.version.published_at is None:
                raise Problem(
                    "conflict", "Only what was published has a DOI.", extra={"state": held.version.state}
                )
            held.version.doi = known
            try:
                with session.begin_nested():
                    session.flush()
            except IntegrityError:
                raise Problem("conflict", "Another version has this DOI.") from None
            stream = institution_stream(held.facts.institution_id)
            self._note(session, stream, "version.doi_set", actor, version_id, {"doi": known})
            return {"version_id": version_id, "doi": known, "landing_page": self._landing(version_id)}

    def citation(self, actor: Actor, version_id: str, form: str) -> tuple[str, Any]:
        """(media type, the citation): json | xml | text | ris | bibtex. XML needs a DOI, the others may be drafts."""
        with self.db.read() as session:
            held = queries.version(session, version_id)
            policy.must_cite_version(actor, held.facts)
            one = queries.described(session, held, self._landing(version_id) if held.version.doi else None)
        if form in citing.FORMS:
            media, write = citing.FORMS[form]
            return media, write(one)
        document = datacite.as_json(one)
        if found := faults(document, registers=form == "xml"):
            raise Problem("conflict", "DataCite would not take this.", found)
        return (
            ("application/json", document)
            if form == "json"
            else ("application/xml", datacite.as_xml(document))
        )

    def landing(self, version_id: str) -> View:
        """The page that a DOI leads to: of a version with a DOI, whatever became of it; `not_found` for any other."""
        with self.db.read() as session:
            held = queries.version(session, version_id)
            if held.version.doi is None:
                raise not_found("dataset version")
            one = queries.described(session, held, self._landing(version_id))
            papers = queries.publications(session, version_id=version_id, after=None, limit=100)
        return {
            "cited": one, "text": citing.as_text(one), "state": held.version.state, "publications": papers,
            "dataset_id": held.dataset.id, "resolver": doi.RESOLVER, "orcid": orcid.URI, "ror": ror.URI,
        }  # fmt: skip

    def report_publication(self, actor: Actor, permit_id: str, body: Mapping[str, Any]) -> View:
        """A publication from the data of a permit, by its holder, also after the permit has ended; once a project."""
        known = _normal(body["doi"], doi.normal, "/doi", "bad_doi", "is no DOI such as 10.1234/abc")
        now = self.clock()
        with self.db.unit_of_work() as session:
            held, facts = queries.permit(session, permit_id)
            policy.must_report_publication(actor, facts)
            row = Publication(
                id=new_id("pub"), project_id=held.project_id, permit_id=held.id, doi=known, title=body["title"],
                year=body["year"], reported_by=actor.subject, reported_at=now,
            )  # fmt: skip
            try:
                with session.begin_nested():
                    session.add(row)
                    session.flush()
            except IntegrityError:
                raise Problem("conflict", "The project has told of this publication.") from None
            data = {"permit": held.id, "doi": known}
            self._note(session, project_stream(held.project_id), "publication.reported", actor, row.id, data)
            return queries.publication_view(row)

    def withdraw_publication(self, actor: Actor, permit_id: str, publication_id: str) -> None:
        """Take back what was reported by mistake."""
        with self.db.unit_of_work() as session:
            held, facts = queries.permit(session, permit_id)
            policy.must_report_publication(actor, facts)
            row = session.get(Publication, publication_id)
            if row is None or row.permit_id != held.id:
                raise not_found("publication")
            session.delete(row)
            self._note(session, project_stream(held.project_id), "publication.withdrawn", actor, row.id, {})

    def publications_of_permit(
        self, actor: Actor, permit_id: str, after: str | None, limit: int
    ) -> list[View]:
        """What was published from a permit: for its holder and the stewards of the data."""
        with self.db.read() as session:
            _row, facts = queries.permit(session, permit_id)
            policy.must_read_permit(actor, facts)
            return queries.publications(session, permit_id=permit_id, after=after, limit=limit)

    def publications_of_version(
        self, actor: Actor, version_id: str, after: str | None, limit: int
    ) -> list[View]:
        """What was published from a version, by any project."""
        with self.db.read() as session:
            policy.must_cite_version(actor, queries.version(session, version_id).facts)
            return queries.publications(session, version_id=version_id, after=after, limit=limit)

    def _landing(self, version_id: str) -> str:
        return f"{self.public_url.rstrip('/')}{LANDING}{version_id}"

    def _note(
        self, session: Session, stream: str, event: str, actor: Actor, object_id: str, data: dict[str, Any]
    ) -> None:
        record(
            session,
            stream=stream,
            event=event,
            actor=actor.subject,
            object_id=object_id,
            at=self.clock(),
            data=data,
        )


def _normal(
    given: str | None, normal: Callable[[str], str | None], pointer: str, code: str, detail: str
) -> str | None:
    if given is None:
        return None
    if (known := normal(given)) is None:
        raise Problem("invalid_request", "The identifier is none.", [Finding(code, detail, pointer=pointer)])
    return known


def _creator_findings(session: Session, creators: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    known = queries.known_institutions(
        session, [one["affiliation_id"] for one in creators if one.get("affiliation_id")]
    )
    seen = set[str]()
    for i, one in enumerate(creators):
        here = f"/creators/{i}"
        if one.get("orcid"):
            found = orcid.normal(one["orcid"])
            if found is None:
                yield Finding(
                    "bad_orcid", "is no ORCID iD: its check character must be right", pointer=f"{here}/orcid"
                )
            elif found in seen:
                yield Finding("duplicate", "the same person stands here twice", pointer=f"{here}/orcid")
            seen.add(found or "")
        if one.get("affiliation_id") and one["affiliation_id"] not in known:
            yield Finding(
                "unknown_institution", "there is no such institution", pointer=f"{here}/affiliation_id"
            )
