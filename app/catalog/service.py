"""The verbs of the catalogue: find, look, count, and the way to the million."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.auth import policy
from app.auth.policy import Actor, VersionFacts
from app.catalog import progress, queries
from app.catalog.entries import is_found, tables_of, texts_of
from app.catalog.queries import Entry
from app.clock import Clock
from app.db import Database
from app.deid.counts import mask_plain
from app.errors import Problem, not_found
from app.models import Cohort, Institution, ShownFigures
from app.schemas.counts import CountQuestion
from app.settings import Settings

FIGURE = "consenting_people"


class Counting(Protocol):
    """The side of the gate that the catalogue uses."""

    def count(self, question: CountQuestion, reader: Actor) -> dict[str, Any]:
        """A masked number of people, or a Problem where it would say too much."""


@dataclass(frozen=True)
class CatalogService:
    """What anyone may find, and what the public may know."""

    db: Database
    clock: Clock
    settings: Settings
    gate: Counting

    def search(self, query: str, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Published datasets in which every word of the query occurs; empty: all. By dataset id."""
        found: list[dict[str, Any]] = []
        with self.db.read() as session:
            for entry in queries.published(session, after):
                if len(found) == limit:
                    break
                if is_found(query, _texts(entry)):
                    found.append(self._brief(entry))
        return found

    def detail(self, dataset_id: str) -> dict[str, Any]:
        """One published dataset with its structure; `not_found` where nothing of it is published."""
        least, unit = self.settings.min_cell, self.settings.round_to
        with self.db.read() as session:
            if (entry := queries.published_of(session, dataset_id)) is None:
                raise not_found("published dataset")
            people = queries.people_by_table(session, entry[1].id)
            return {**self._brief(entry), "tables": tables_of(entry[1].dictionary or {}, people, least, unit)}

    def count(self, actor: Actor, question: CountQuestion) -> dict[str, Any]:
        """A masked count of people in a published version who meet the conditions; the gate answers."""
        with self.db.read() as session:
            if (found := queries.version_and_cohorts(session, question.version_id)) is None:
                raise not_found("dataset version")
        version, of = found
        first, *others = of.institutions
        facts = VersionFacts(institution_id=first, state=version.state, also=tuple(others))
        policy.must_find_version(actor, facts)
        if version.state not in policy.PUBLISHED:
            raise Problem("version_not_ready", "People are counted in published versions only.")
        return self.gate.count(question, actor)

    def progress(self) -> dict[str, Any]:
        """Distinct consenting people of published cohorts, in all and by institution; masked, rounded, in batches."""
        least, unit = self.settings.min_cell, self.settings.round_to
        row = self._figures()
        total, by_institution = progress.shown({k: int(v) for k, v in row.people.items()}, least, unit)
        with self.db.read() as session:
            names = queries.institution_names(session, list(by_institution))
        return {
            "goal": self.settings.goal,
            "people": total,
            "institutions": [
                {"id": key, "name": names[key][0], "name_ko": names[key][1], "people": people}
                for key, people in by_institution.items()
            ],
            "fewer_than": least,
            "rounded_to": unit,
            "as_of": row.at,
        }

    def _figures(self) -> ShownFigures:
        """What is shown now. It is counted again only where consents or publications have moved since."""
        on = self.clock().date()
        with self.db.read() as session:
            row = queries.shown_figures(session, FIGURE)
            if row is not None and row.basis == queries.progress_basis(session, on):
                return row
        try:
            return self._count_again()
        except IntegrityError:  # two first visitors at once: the other one's row is as good
            return self._count_again()

    def _count_again(self) -> ShownFigures:
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = queries.shown_figures(session, FIGURE, lock=True)
            # The basis is read before the numbers: what moves in between is counted again next time.
            basis = queries.progress_basis(session, now.date())
            before = {} if row is None else {key: int(value) for key, value in row.people.items()}
            people = progress.in_batches(
                before, queries.consenting_people(session, now.date()), self.settings.min_cell
            )
            return _set(session, row, basis, people, now)

    def _brief(self, entry: Entry) -> dict[str, Any]:
        held, version, sources = entry
        holders = [
            {"cohort": _cohort(cohort), "institution": _institution(holder)} for cohort, holder in sources
        ]
        document = version.dictionary or {}
        people = mask_plain(version.people, self.settings.min_cell, self.settings.round_to).value
        return {
            "id": held.id, "version_id": version.id, "number": version.number, "name": held.name,
            "name_ko": held.name_ko, "description": held.description, "keywords": held.keywords,
            "cohort": holders[0]["cohort"] if len(holders) == 1 else None,
            "institution": holders[0]["institution"] if len(holders) == 1 else None,
            "held_by": holders,
            "table_names": [table["name"] for table in document.get("tables", [])],
            "people": people, "published_at": version.published_at,
        }  # fmt: skip


def _set(
    session: Session, row: ShownFigures | None, basis: str, people: dict[str, int], now: Any
) -> ShownFigures:
    if row is None:
        row = ShownFigures(name=FIGURE, basis=basis, people=people, at=now)
        session.add(row)
    else:
        if row.people != people:
            row.people, row.at = people, now
        row.basis = basis
    session.flush()
    return row


def _cohort(row: Cohort) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "name_ko": row.name_ko, "duo": row.duo}


def _institution(row: Institution) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "name_ko": row.name_ko}


def _texts(entry: Entry) -> Iterator[str]:
    held, version, sources = entry
    yield from (held.name, held.name_ko, held.description, *map(str, held.keywords))
    for cohort, institution in sources:
        yield from (cohort.name, cohort.name_ko, cohort.description, institution.name, institution.name_ko)
    yield from texts_of(version.dictionary or {})
