"""What the plan and the dictionary say must leave, worked out from names alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.deid.verify.evidence import refusal
from app.errors import Finding
from app.schemas.dictionary import Column, Dictionary, Table
from app.schemas.plan import Plan, PlannedColumn

KEYED = frozenset({"pseudonymise", "keyed_id"})
TRANSFORMS = KEYED | {
    "band", "clamp", "drop", "generalise", "keep", "label_missing", "relative_day", "roll_up", "round_number",
    "shift_date", "truncate_date",
}  # fmt: skip
REASON_SUFFIX = "__missing"
SOURCE = "source"  # the column of a united table that names the source of the row
NEVER_LEAVE = frozenset({"direct_identifier", "free_text", "linkage_token"})
NEVER_RAW = frozenset({"participant_id", "record_id", "provider_id", "family_id"})


@dataclass(frozen=True)
class Out:
    """One column that leaves: its dictionary entry and its planned transform."""

    column: Column
    planned: PlannedColumn

    @property
    def reason(self) -> bool:
        """True where what leaves is why a value is missing, not the value."""
        return self.planned.transform == "label_missing"

    @property
    def name(self) -> str:
        """The name that the column leaves under."""
        return self.column.name + REASON_SUFFIX if self.reason else self.column.name

    @property
    def role(self) -> str:
        """The kind of role; a reason plays none."""
        return "reason" if self.reason else self.column.role.kind

    @property
    def keyed(self) -> bool:
        """True where the values must be keyed ids."""
        return self.planned.transform in KEYED

    @property
    def precision(self) -> str:
        """`year` or `month`: what a truncated date may tell (the plan's own parameter, else the role's mode)."""
        said = [v for v in self.planned.params.values() if v in ("year", "month")]
        mode = getattr(self.column.role, "mode", None)
        return str(said[0]) if said else mode if mode in ("year", "month") else "month"


@dataclass(frozen=True)
class Leaving:
    """One table that leaves, and how its rows are traced to people."""

    table: Table
    outs: tuple[Out, ...]

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def names(self) -> list[str]:
        """The released column names, in order."""
        return [out.name for out in self.outs]

    @property
    def personal(self) -> bool:
        """False for a reference table."""
        return self.table.kind != "reference"

    @property
    def persons(self) -> list[str]:
        """The released columns that hold pseudonyms; empty where people are reached through a parent."""
        return [o.name for o in self.outs if o.keyed and o.name in person_columns(self.table)]

    @property
    def via(self) -> tuple[str, str, str] | None:
        """(own column, parent table, parent column), where people are reached through a parent."""
        if self.persons or not self.table.participant_via:
            return None
        parent, column = self.table.participant_via.split(".", 1)
        return (self.table.via_column or column, parent, column)

    def of_role(self, *kinds: str) -> list[Out]:
        """The released columns of these roles."""
        return [out for out in self.outs if out.role in kinds]


def person_columns(table: Table) -> set[str]:
    """The columns of the dictionary that name people."""
    return {*table.participant, *(c.name for c in table.of_role("participant_id"))}


def leaving(plan: Plan, dictionary: Dictionary) -> tuple[list[Leaving], list[Finding]]:
    """The tables that leave, in plan order, and all that is wrong with the plan itself."""
    tables: list[Leaving] = []
    findings: list[Finding] = []
    known = {table.name: table for table in dictionary.tables}
    for planned in plan.tables:
        table = known.get(planned.name)
        if table is None:
            findings.append(refusal("unknown_column", table=planned.name))
            continue
        columns = {column.name: column for column in table.fields}
        sources = [(columns.get(_source(p)), p) for p in planned.columns]
        findings += [
            refusal("unknown_column", table=table.name, column=p.name) for c, p in sources if c is None
        ]
        pairs = [(column, p) for column, p in sources if column is not None]
        outs = tuple(Out(column, p) for column, p in pairs if p.transform != "drop")
        tables.append(Leaving(table, outs))
        findings += [f for out in outs for f in _judge(table, out)]
    findings += _traceable(tables) + list(_filters(plan, tables))
    return tables, findings


def _source(planned: PlannedColumn) -> str:
    return planned.name.removesuffix(REASON_SUFFIX) if planned.transform == "label_missing" else planned.name


def labels_of(plan: Plan, people: Leaving) -> list[str]:
    """The quasi-identifiers of the participant table as released, and every released column that filters people."""
    filtered = {c.column for c in plan.filter if c.table == people.name}
    named = {out.name for out in people.of_role("quasi_identifier", "site")}
    return [name for name in people.names if name in named | filtered and name not in people.persons]


def _judge(table: Table, out: Out) -> Iterator[Finding]:
    where = {"table": table.name, "column": out.name}
    role = out.column.role.kind
    if out.planned.transform not in TRANSFORMS:
        yield refusal("transform_unknown", **where)
    if role in NEVER_LEAVE or getattr(out.column.role, "drop", False):
        yield refusal("dropped_role_released", **where)
    if table.kind != "reference":
        raw = role in NEVER_RAW or out.name in person_columns(table)
        if (raw and not out.keyed) or (role == "date" and out.planned.transform == "keep"):
            yield refusal("raw_identifier", **where)


def _traceable(tables: list[Leaving]) -> list[Finding]:
    """A table whose rows cannot be traced to all of its people cannot be verified, so it cannot leave."""
    by_name = {table.name: table for table in tables}
    return [
        refusal("untraceable", table=t.name) for t in tables if t.personal and not _traced(t, by_name, set())
    ]


def _traced(table: Leaving, by_name: dict[str, Leaving], seen: set[str]) -> bool:
    if table.persons:
        return set(table.persons) >= set(table.table.participant)
    if table.via is None or table.name in seen:
        return False
    own, parent, column = table.via
    above = by_name.get(parent)
    if above is None or above.table.kind == "link" or own not in table.names or column not in above.names:
        return False
    return _traced(above, by_name, seen | {table.name})


def _filters(plan: Plan, tables: list[Leaving]) -> Iterator[Finding]:
    released = {(table.name, name) for table in tables for name in table.names}
    for condition in plan.filter:
        if (condition.table, condition.column) not in released:
            yield refusal("filter_not_released", table=condition.table, column=condition.column)
