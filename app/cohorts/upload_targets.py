"""What an upload is to be, and whether its target takes it: a table of a version, or a cohort's consent register."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from app.auth import policy
from app.cohorts import upload_queries as queries
from app.cohorts.intake_queries import newest_tables
from app.cohorts.returns import lineage_of, must_take
from app.cohorts.upload_states import TAKES_UPLOADS
from app.deid.roles import stored
from app.errors import Finding, Problem, not_found, refuse_all
from app.models import Cohort, DatasetVersion
from app.schemas.dictionary import Dictionary, Table

MODES = ("replace", "append", "patch")


def _plain(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("no text")
    return text


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is not None:
        raise ValueError("moments of tables have no zone")
    return found


_READ: dict[str, Callable[[str], Any]] = {
    "date": date.fromisoformat, "datetime": _moment, "integer": int, "number": float, "string": _plain,
    "boolean": _plain,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an upload is to be: a table of a version, or the consent register of a cohort; `length` in bytes."""

    purpose: Literal["table", "consents"]
    length: int
    version_id: str = ""
    table: str = ""
    cohort_id: str = ""
    mode: str = "replace"  # or append, patch: laid onto the rows that the table has
    partition: Mapping[str, str] | None = None  # of an append: column, from, before


def target(session: Session, actor: policy.Actor, wanted: Wanted, on: date) -> Cohort:
    """The cohort an upload would go to, when the actor may and the target takes it."""
    if wanted.purpose == "consents":
        cohort = session.get(Cohort, wanted.cohort_id)
        if cohort is None:
            raise not_found("cohort")
        policy.must_change_consents(actor, policy.CohortFacts(institution_id=cohort.institution_id))
        must_hold_consents_scope(actor)
        return cohort
    found = queries.version_and_cohort(session, wanted.version_id)
    if found is None:
        raise not_found("dataset version")
    version, cohort = found
    facts = policy.VersionFacts(institution_id=cohort.institution_id, state=version.state)
    if (lineage := lineage_of(session, version.id)) is not None:
        must_take(session, actor, lineage, on)
    else:
        policy.must_change_version(actor, facts)
    _must_take(version, wanted.table)
    _must_fit(session, version, wanted)
    return cohort


def _must_take(version: DatasetVersion, table: str) -> None:
    if version.state not in TAKES_UPLOADS:
        states = " or ".join(sorted(TAKES_UPLOADS))
        raise Problem(
            "version_not_ready", f"The version is {version.state}; tables go to one that is {states}."
        )
    if version.dictionary is None:
        raise Problem("version_not_ready", "The version has no dictionary yet, so nothing could be checked.")
    known = [str(t["name"]) for t in version.dictionary["tables"]]
    if table not in known:
        near = tuple(difflib.get_close_matches(table, known, n=3))
        finding = Finding("unknown_table", "The dictionary has no such table.", near=near, pointer="/table")
        raise Problem("invalid_request", "The table is not in the version's dictionary.", [finding])


def _must_fit(session: Session, version: DatasetVersion, wanted: Wanted) -> None:
    """Refuse a mode or a partition that cannot be, with everything that is wrong."""
    found = []
    if wanted.mode not in MODES:
        found.append(Finding("unknown_mode", f"must be one of {', '.join(MODES)}", pointer="/mode"))
    if wanted.mode in ("append", "patch") and wanted.table not in newest_tables(session, version.id):
        detail = "the version holds no rows of the table that could be added to or changed"
        found.append(Finding("table_missing", detail, wanted.table, pointer="/mode", hint="upload it whole"))
    if wanted.partition is not None:
        if wanted.mode != "append":
            found.append(Finding("bad_partition", "only an append names a partition", pointer="/partition"))
        table = Dictionary.model_validate(version.dictionary).table(wanted.table)
        found += _partition_findings(table, wanted.partition)
    refuse_all("invalid_request", "The rows cannot be laid onto the table that way.", found)


def _partition_findings(table: Table, said: Mapping[str, str]) -> Iterator[Finding]:
    if absent := [part for part in ("column", "from", "before") if not said.get(part)]:
        detail = "a partition is a column, the value it begins with and the one it ends before"
        yield Finding("bad_partition", detail, table.name, pointer="/partition", count=len(absent))
        return
    column = next((one for one in stored(table) if one.name == said["column"]), None)
    if column is None:
        near = tuple(difflib.get_close_matches(said["column"], [c.name for c in stored(table)], n=3))
        yield Finding(
            "unknown_column", "the table stores no such column", table.name, pointer="/partition", near=near
        )
        return
    try:
        first, before = (_READ[column.type](said[end]) for end in ("from", "before"))
        good = first < before
    except ValueError:
        good = False
    if not good:
        detail = f"its ends are values of the column's type ({column.type}), the first before the second"
        yield Finding("bad_partition", detail, table.name, column.name, pointer="/partition")


def must_hold_consents_scope(actor: policy.Actor) -> None:
    """Refuse a token that may upload tables but not consents."""
    if "consents:write" not in actor.scopes:
        raise Problem("insufficient_scope", "The consent register needs the scope consents:write.")
