"""The check of a whole version, as a job: every table is there and they hold together, or the report says what not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from app.audit import institution_stream, record
from app.clock import Clock
from app.cohorts import intake_queries as queries
from app.cohorts import succession
from app.cohorts.segments import columns_of, segments
from app.cohorts.states import step
from app.cohorts.upload_queries import version_and_cohort
from app.db import Database
from app.deid.counts import mask_plain
from app.engines.intake import IntakeEngine, TableChange, definition
from app.errors import Finding
from app.jobs import JobContext
from app.models import Upload, VaultTable
from app.schemas.dictionary import Dictionary
from app.settings import Settings

SYSTEM = "system"
BROKEN_OFF: Final = {
    "failed": Finding("check_failed", "the check failed on our side; hand the version in again"),
    "cancelled": Finding("check_cancelled", "the check was ended; hand the version in again"),
}
# Of a table with one of these not even the columns may be as the dictionary says.
_UNREADABLE = frozenset({"dictionary_changed", "table_missing", "upload_undecided"})


@dataclass(frozen=True)
class ValidationService:
    """Checks versions that were handed in."""

    db: Database
    clock: Clock
    settings: Settings
    engine: IntakeEngine

    def submit_version(self, job: JobContext) -> None:
        """validating -> ready or quarantined, with a report; begun again after a crash it ends the same. A check that
        broke off or was ended is told in the report, too: the version can be handed in again."""
        try:
            self._check(job)
        except Exception as error:
            told = BROKEN_OFF["cancelled" if job.refusal(error, "").code == "cancelled" else "failed"]
            nothing = {"people": 0, "rows": 0, "left_out": 0, "tables": [], "hierarchies": [], "warnings": []}
            report = {
                "outcome": "quarantined",
                "problems": [told.to_dict()],
                "min_cell": self.settings.min_cell,
            }
            self.db.again(lambda: self._decide(job.subject, report | nothing, [told]))
            raise

    def _check(self, job: JobContext) -> None:
        with self.db.read() as session:
            found = version_and_cohort(session, job.subject)
            if found is None or found[0].state != "validating" or found[0].dictionary is None:
                return
            dictionary = Dictionary.model_validate(found[0].dictionary)
            # First: what is accepted between the two statements is undecided here, and never ready unchecked.
            undecided = queries.undecided(session, job.subject)
            held = queries.newest_tables(session, job.subject)
            findings = _absent(dictionary, held, undecided)
            reports = {name: _report_of(session, row) for name, row in held.items()}
            parents = queries.as_parents(session, held)
            before = succession.predecessor(session, found[0])
            earlier = succession.as_before(session, before) if before else None
            if before is not None and earlier is not None:
                findings += succession.findings(found[0], before, parents, earlier)
            levels = (before.report or {}).get("hierarchies", []) if before else []
            session.expunge_all()  # the rows are read on after the transaction
        job.progress(step="checking", tables=len(dictionary.tables))
        # Tables that are told to be uploaded again are not looked into: their columns may not be there.
        unfit = {f.table for f in findings if f.code in _UNREADABLE}
        fit = {name: parent for name, parent in parents.items() if name not in unfit}
        laid = self.engine.whole(job.id, dictionary, fit, self.settings.min_cell, earlier)
        findings += laid.findings
        laid_before = [one for one in levels if (one["table"], one["column"]) in laid.same]
        report = self._report(dictionary, held, reports, findings) | {
            "hierarchies": [*laid_before, *laid.levels]
        }
        moved = None
        if earlier is not None and not findings:
            job.progress(step="comparing", tables=len(dictionary.tables))
            moved = self.engine.differences(job.id, dictionary, parents, earlier)
        people = held[dictionary.people.name].people if not findings else 0
        self._decide(job.subject, report, findings, people, moved or ())

    def _decide(
        self,
        version_id: str,
        report: dict[str, Any],
        findings: list[Finding],
        people: int = 0,
        moved: Sequence[TableChange] | None = None,
    ) -> None:
        with self.db.unit_of_work() as session:
            found = version_and_cohort(session, version_id)
            if found is None:
                return
            version, cohort = found
            session.refresh(version, with_for_update=True)
            if version.state != "validating":
                return
            version.state = step(version.state, "quarantine" if findings else "accept")
            before = succession.predecessor(session, version)
            if before is not None and moved is not None:
                report["changes"] = succession.written(session, version, before, moved)
            version.report, version.people = report, people
            record(
                session, stream=institution_stream(cohort.institution_id),
                event=f"version.{version.state}", actor=SYSTEM, object_id=version_id, at=self.clock(),
                data={"people": people, "tables": len(report["tables"]), "problems": len(findings)},
            )  # fmt: skip

    def _report(
        self,
        dictionary: Dictionary,
        held: dict[str, VaultTable],
        reports: dict[str, dict[str, Any]],
        findings: list[Finding],
    ) -> dict[str, Any]:
        """What the steward reads: places and numbers; small numbers of people or values are hidden."""
        tables = [
            self._table(held[table.name], reports[table.name])
            for table in dictionary.tables
            if table.name in held
        ]
        warnings = [warning for name in held for warning in reports[name].get("warnings", [])]
        return {
            "outcome": "quarantined" if findings else "ready",
            "problems": [finding.to_dict() for finding in findings],
            "warnings": warnings,
            "people": held[dictionary.people.name].people if dictionary.people.name in held else 0,
            "rows": sum(row.rows for row in held.values()),
            "left_out": sum(row.left_out for row in held.values()),
            "tables": tables,
            "min_cell": self.settings.min_cell,
        }

    def _table(self, row: VaultTable, report: dict[str, Any]) -> dict[str, Any]:
        columns = [self._column(entry, int(report["rows"])) for entry in report.get("columns", [])]
        return {
            "table": row.table_name, "generation": row.generation, "rows": row.rows, "people": row.people,
            "left_out": row.left_out, "not_stored": report.get("not_stored", []), "columns": columns,
        }  # fmt: skip

    def _column(self, entry: dict[str, Any], rows: int) -> dict[str, Any]:
        least, unit = self.settings.min_cell, self.settings.round_to
        nulls = int(entry["nulls"])
        # A share tells a small number as well as the number does, and so does what is left to the whole.
        small = 0 < nulls < least or 0 < rows - nulls < least
        share = None if small or not rows else round(nulls / rows, 2)
        reasons = {
            name: mask_plain(count, least, unit).value for name, count in entry.get("missing", {}).items()
        }
        return {
            "name": entry["name"],
            "null_share": share,
            **({"missing": reasons} if "missing" in entry else {}),
        }


def _absent(dictionary: Dictionary, held: dict[str, VaultTable], undecided: dict[str, str]) -> list[Finding]:
    findings = []
    for table in dictionary.tables:
        if table.name in undecided:
            detail = f"an upload of the table is {undecided[table.name]} and has no outcome yet"
            hint = "wait for it; it may itself wait for the tables that it points at"
            findings.append(Finding("upload_undecided", detail, table.name, hint=hint))
        elif table.name not in held:
            findings.append(Finding("table_missing", "no upload of the table was accepted", table.name))
        elif held[table.name].definition != definition(table):
            detail = "the dictionary of the table has changed since it was checked"
            findings.append(Finding("dictionary_changed", detail, table.name, hint="upload the table again"))
    return findings


def _report_of(session: Session, row: VaultTable) -> dict[str, Any]:
    upload = session.get(Upload, row.upload_id) if row.upload_id else None
    report = (upload.report if upload else None) or {"rows": row.rows}
    if row.object_name is None:  # the upload was laid onto rows that were there
        held = segments(session, row)
        rows = sum(one.rows + one.left_out for one in held)
        report = {**report, "rows": rows, "columns": columns_of(held)}
    return report
