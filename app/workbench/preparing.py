"""Everything that a run needs, checked together: file, dictionary, privacy, plan, hierarchies; no work before that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from app.deid import hierarchies
from app.deid import plan as planning
from app.deid.fitting import hierarchy_spec
from app.deid.hierarchies import HierarchyError
from app.deid.roles import check_dictionary
from app.errors import Finding, Problem, refuse_all
from app.schemas.dictionary import Column, Dictionary, Table
from app.schemas.plan import Plan, Privacy, digest
from app.workbench.flat import Arrival, arrive, connect, group, shape_findings, type_rows

REFUSED = "The file, the dictionary and the privacy settings do not fit together."
Say = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """What the shell asks for; `memory` such as `2GB`."""

    file: Path
    dictionary: Path
    privacy: Path | None
    rows_are_people: bool = False
    memory: str = "2GB"
    threads: int = 2


@dataclass(frozen=True)
class Prepared:
    """A checked task: `con` holds `flat` (__participant, columns), every row another person, and `tuples` (the
    quasi-identifiers and sites, n)."""

    con: duckdb.DuckDBPyConnection
    dictionary: Dictionary
    plan: Plan
    rows: int
    rows_are_people: bool

    @property
    def table(self) -> Table:
        """The participant table, which the file is."""
        return self.dictionary.people

    @property
    def labels(self) -> list[Column]:
        """The quasi-identifiers that leave as labels, in the plan's order."""
        return labelled(self.plan, self.table)


@contextmanager
def prepared(task: Task, spill: Path, say: Say) -> Iterator[Prepared]:
    """Check everything; a Problem with all findings at once where anything is wrong."""
    documents = read_json(task.dictionary), read_json(task.privacy) if task.privacy else {}
    findings: list[Finding] = []
    dictionary, privacy = _dictionary(documents[0], findings), _privacy(documents[1], findings)
    if (
        dictionary is None
        or privacy is None
        or len([t for t in dictionary.tables if t.kind == "participant"]) != 1
    ):
        refuse_all("invalid_request", REFUSED, findings)
        raise Problem("invalid_request", REFUSED)
    say("reading the file")
    con = connect(task.memory, task.threads, spill)
    try:
        table = dictionary.people
        arrival = arrive(con, task.file, table.delimiter, table.encoding, spill, table)
        findings += shape_findings(table, arrival, task.rows_are_people)
        findings += type_rows(con, table, arrival)
        plan = _plan(dictionary, privacy, findings)
        findings += _fit_findings(con, dictionary, plan, privacy, arrival)
        refuse_all("invalid_request", REFUSED, dict.fromkeys(findings))
        if plan is None:
            raise Problem("invalid_request", REFUSED)
        yield Prepared(con, dictionary, plan, arrival.rows, task.rows_are_people)
    finally:
        con.close()


def papers(dictionary: Path | None, privacy: Path | None) -> tuple[Dictionary | None, Privacy | None]:
    """The dictionary and the limits, as far as there are any; a Problem with everything that is wrong with both."""
    findings: list[Finding] = []
    words = _dictionary(read_json(dictionary), findings) if dictionary else None
    limits = _privacy(read_json(privacy), findings) if privacy else None
    refuse_all("invalid_request", REFUSED, findings)
    return words, limits


def read_json(path: Path) -> Any:
    """The document of a JSON file; `Problem("invalid_request")` where it is none."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise Problem("invalid_request", f"{path.name} is not a JSON file that can be read.") from error


def labelled(plan: Plan, table: Table) -> list[Column]:
    """The columns of the participant table that leave as labels."""
    return [table.column(c.name) for c in plan.table(table.name).columns if c.transform == "generalise"]


def _dictionary(document: Any, findings: list[Finding]) -> Dictionary | None:
    try:
        return check_dictionary(document)
    except Problem as problem:
        findings += problem.findings or [Finding("wrong_shape", problem.detail)]
    try:  # Its shape may do, so that what else is wrong can be told with it.
        return Dictionary.model_validate(document)
    except ValidationError:
        return None


def _privacy(document: Any, findings: list[Finding]) -> Privacy | None:
    try:
        return Privacy.model_validate(document)
    except ValidationError as error:
        # Only the library's codes and places: its messages quote the input.
        for one in error.errors(include_url=False, include_input=False, include_context=False):
            where = "/".join(str(step) for step in one["loc"])
            findings.append(Finding("bad_privacy", one["type"], pointer=f"/privacy/{where}"))
        return None


def _plan(dictionary: Dictionary, privacy: Privacy, findings: list[Finding]) -> Plan | None:
    try:
        table = dictionary.people.name
        return planning.draft(
            dictionary, {table: ()}, (), privacy, digest(dictionary.model_dump(mode="json"))
        )
    except Problem as problem:
        findings += problem.findings
    except (KeyError, ValidationError):  # of a dictionary that is refused already
        if not findings:
            raise
    return None


def _fit_findings(
    con: duckdb.DuckDBPyConnection,
    dictionary: Dictionary,
    plan: Plan | None,
    privacy: Privacy,
    arrival: Arrival,
) -> Iterator[Finding]:
    table, k = dictionary.people, privacy.k + privacy.reserve
    if arrival.rows < k:
        yield Finding("too_few_people", f"k and reserve ask for {k} people; the file has fewer", table.name,
                      pointer="/privacy/k")  # fmt: skip
    columns = [c for c in table.fields if c.role.kind in ("quasi_identifier", "site")]
    if not columns or (plan is not None and not labelled(plan, table)):
        yield Finding(
            "no_quasi_identifier", "no quasi-identifier leaves, so k would be counted over nothing", table.name,
            hint="say which columns others may know of a person",
        )  # fmt: skip
    values = group(con, table, [c.name for c in columns if c.name in arrival.names])
    for column in columns:
        if values.get(column.name):
            yield from _cover(dictionary, table, column, values[column.name])


def _cover(dictionary: Dictionary, table: Table, column: Column, values: list[object]) -> Iterator[Finding]:
    try:
        hierarchies.fit(hierarchy_spec(dictionary, column), values, column.name)
    except HierarchyError as error:
        for code, detail in error.problems:
            yield Finding(f"hierarchy_{code}", detail, table.name, column.name)
    except (KeyError, TypeError, ValueError, AttributeError):
        yield Finding("hierarchy_shape", "the hierarchy cannot be read", table.name, column.name)
