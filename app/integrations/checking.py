"""The check of a mapping, as a job: what it leaves unsaid, and what rows hold that it does not name, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.clock import Clock
from app.consents.linkage import linked
from app.db import Database
from app.deid import united
from app.engines import Engine, Source, Unmapped
from app.engines.members import members_of
from app.errors import Finding
from app.integrations import queries
from app.integrations.reports import written
from app.integrations.states import step
from app.jobs import JobContext, Task
from app.models import VaultTable
from app.schemas.dictionary import Dictionary
from app.schemas.mapping import MappedSource
from app.schemas.mapping import Mapping as Mapped
from app.schemas.plan import Plan, PlannedTable
from app.settings import Settings
from app.storage.spill import held_folder

BROKEN_OFF: Final = {
    "failed": Finding("check_failed", "the check failed on our side; hand the mapping in again"),
    "cancelled": Finding("check_cancelled", "the check was ended; hand the mapping in again"),
}


@dataclass(frozen=True)
class CheckService:
    """Checks mappings that were handed in."""

    db: Database
    clock: Clock
    settings: Settings
    engine: Engine

    def check(self, job: JobContext) -> None:
        """checking -> in_review, or draft again with the list; begun again after a crash it ends the same. A check that
        broke off or was ended is told in the report, too: the mapping can be handed in again."""
        with self.db.read() as session:
            row = queries.integration(session, job.subject)
            if row.state != "checking" or row.mapping is None or row.mapping_digest is None:
                return
            document, digest, drafted_by = row.mapping, row.mapping_digest, row.institution_id
        try:
            self._decide(job.subject, digest, self._report(job, document, digest, drafted_by))
        except Exception as error:
            told = BROKEN_OFF["cancelled" if job.refusal(error, "").code == "cancelled" else "failed"]
            self.db.again(lambda: self._decide(job.subject, digest, written(digest, [told], [], {}, 0)))
            raise

    def _report(
        self, job: JobContext, document: dict[str, Any], digest: str, drafted_by: str
    ) -> dict[str, Any]:
        mapping = united.read(document)
        with self.db.read() as session:
            problems, holders = static(session, mapping, drafted_by)
            people = _people(session, mapping)
        job.progress(step="checking", sources=len(mapping.sources))
        # Rows are asked only where every column is mapped: else there is nothing to ask them by.
        unmapped = [] if problems else self._asked(mapping)
        return written(digest, problems, unmapped, holders, people)

    def _asked(self, mapping: Mapped) -> list[Unmapped]:
        dictionary = united.dictionary_of(mapping)
        with self.db.read() as session:
            members = members_of(session, mapping, [t.name for t in dictionary.tables])
        plan = Plan(version_id="none", tables=(PlannedTable(name=dictionary.people.name, columns=()),))
        nobody = pa.table({"key": pa.array([], pa.int32())})
        with held_folder(self.settings.var / "spill") as folder:
            spill = folder / "engine"
            spill.mkdir(mode=0o700)
            return self.engine.unmapped(Source(dictionary, plan, {}, nobody, b"", spill, united=members))

    def _decide(self, integration_id: str, digest: str, report: Mapping[str, Any]) -> None:
        now = self.clock()
        with self.db.unit_of_work() as session:
            row = queries.integration(session, integration_id, lock=True)
            if row.state != "checking" or row.mapping_digest != digest:
                return
            row.state = step(row.state, "accept" if report["outcome"] == "complete" else "refuse")
            row.report = dict(report)
            row.revision += 1
            data = {
                "mapping": digest, "outcome": report["outcome"], "problems": len(report["problems"]),
                "unmapped": len(report["unmapped"]),
            }  # fmt: skip
            for institution in sorted({row.institution_id, *queries.facts(session, row).also}):
                record(
                    session, stream=institution_stream(institution), event="integration.checked", actor="platform",
                    object_id=row.id, at=now, data=data,
                )  # fmt: skip


def static(session: Session, mapping: Mapped, drafted_by: str) -> tuple[list[Finding], dict[str, str]]:
    """Everything wrong with a mapping that no row is needed for, and the institution of each source by its name."""
    found: list[Finding] = []
    dictionaries, holders, cohorts = dict[str, Dictionary](), dict[str, str](), list[str]()
    for i, one in enumerate(mapping.sources):
        held = queries.source(session, one.version_id)
        if held is None or held[0].state != "published" or held[0].dictionary is None:
            detail = "the source is no published version of a cohort"
            found.append(Finding("source_not_published", detail, pointer=f"/sources/{i}/version_id"))
            continue
        version, cohort = held
        dictionaries[one.name] = Dictionary.model_validate(version.dictionary)
        holders[one.name] = cohort.institution_id
        cohorts.append(cohort.id)
    if len(set(cohorts)) < len(cohorts):
        found.append(
            Finding(
                "cohort_twice", "a cohort is a source once: its people are one row each", pointer="/sources"
            )
        )
    if holders and drafted_by not in holders.values():
        found.append(
            Finding("none_of_yours", "who drafts an integration holds one of its sources", pointer="/sources")
        )
    if len(dictionaries) == len(mapping.sources):
        found += united.findings(mapping, united.dictionary_of(mapping), dictionaries)
    return found, holders


def _people(session: Session, mapping: Mapped) -> int:
    """The people of the united participant table, as far as is known: whom the register links counts once."""
    participants, cohorts = 0, list[str]()
    people = united.dictionary_of(mapping).people.name
    for one in mapping.sources:
        held = queries.source(session, one.version_id)
        if held is not None:
            participants += _participants(session, one, people)
            cohorts.append(held[1].id)
    known = linked(session, cohorts)
    return max(0, participants - (len(known.keys) - known.people))


def _participants(session: Session, one: MappedSource, people: str) -> int:
    table = one.tables[people].source if people in one.tables else None
    query = (
        select(VaultTable.people)
        .where(VaultTable.version_id == one.version_id, VaultTable.table_name == table)
        .order_by(VaultTable.generation.desc())
        .limit(1)
    )
    return session.scalar(query) or 0


def tasks(service: CheckService) -> dict[str, Task]:
    """The tasks by the kind of their job."""
    return {"check_integration": service.check}
