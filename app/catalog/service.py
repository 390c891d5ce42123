"""The verbs of the catalogue: find, look, count, and the way to the million."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.auth import policy
from app.auth.policy import Actor, VersionFacts
from app.catalog import queries
from app.catalog.asking import Counting, CountsByWorkers
from app.catalog.entries import is_found, tables_of, texts_of
from app.catalog.figures import Figures
from app.catalog.finding import VariableService
from app.catalog.queries import Entry
from app.clock import Clock
from app.db import Database
from app.deid.counts import mask_plain
from app.errors import Problem, not_found
from app.models import Cohort, Institution
from app.schemas.counts import CountQuestion
from app.settings import Settings


@dataclass(frozen=True)
class CatalogService:
    """What anyone may find, and what the public may know."""

    db: Database
    clock: Clock
    settings: Settings
    gate: Counting | CountsByWorkers

    @property
    def variables(self) -> VariableService:
        """The variables of all datasets."""
        return VariableService(self.db, self.settings)

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
        """A masked count of people in a published version who meet the conditions; the gate answers, or a
        worker: `{"order": id}` where that takes longer than somebody waits."""
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

    def counted(self, actor: Actor, order_id: str) -> dict[str, Any] | None:
        """The answer to a question that was not answered in time; None where a worker is still at it."""
        if not isinstance(self.gate, CountsByWorkers):
            raise not_found("count")  # every question was answered at once
        return self.gate.fetch(order_id, actor)

    def progress(self) -> dict[str, Any]:
        """Distinct consenting people of published cohorts, in all and by institution, with history and projection."""
        return Figures(self.db, self.clock, self.settings).tell()

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
            "people": people, "doi": version.doi, "published_at": version.published_at,
        }  # fmt: skip


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
