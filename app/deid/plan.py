"""Drafting a plan from a dictionary, and checking one: everything wrong is told at once, never a value.

The classes that must hold k are those of the participant table's quasi-identifiers as they leave. A plan may do
without the participant table: then no quasi-identifier of it leaves and none is filtered, all people are one class,
and k bounds the number of people and, through `min_participants`, every code and place on the event tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from app.deid.caps import cap_findings, unplaced_findings
from app.deid.choices import Chosen, allowed, default, find, reason_of, weaknesses
from app.deid.contradictions import privacy_findings, timeline_findings, twin_findings
from app.deid.dictionary_shape import near, pointer
from app.deid.filters import condition_findings
from app.deid.transforms import MISSING_SUFFIX, transforms
from app.errors import Finding, refuse_all
from app.schemas.dictionary import Column, Dictionary, Table
from app.schemas.plan import Condition, Plan, PlannedColumn, PlannedTable, Privacy

_REFUSED = "The plan asks for what cannot leave, or contradicts the dictionary or itself."


def draft(
    dictionary: Dictionary,
    tables_and_columns: Mapping[str, Sequence[str]] | None,
    filter: Sequence[Condition],  # noqa: A002 - the plan's own word
    privacy: Privacy,
    version_id: str,
    caps: Mapping[str, int] | None = None,
) -> Plan:
    """The plan that releases the asked columns by the default transform of their roles, checked.

    `tables_and_columns` names columns per table; no columns means all that may leave together: a moved date beside the
    true year of the same event stays behind unless named. None means so of every table about people (reference tables
    leave only when named). Participant columns and the reasons of missing values come along unasked.
    Tables and columns stand in the dictionary's order, so that equal wishes have equal hashes.
    `caps` has the most rows of a person by event table; where none is asked for, the dictionary's comes along.
    Raises `Problem("plan_invalid")` with every finding at once.
    """
    asked = tables_and_columns
    if asked is None:
        asked = {table.name: () for table in dictionary.tables if table.kind != "reference"}
    found = list(_selection_findings(dictionary, asked))
    tables = []
    for table in dictionary.tables:
        if table.name in asked:
            columns = _planned(dictionary, table, asked[table.name], privacy)
            cap = (caps or {}).get(table.name, table.max_rows_per_person)
            one = PlannedTable(name=table.name, columns=columns, max_rows_per_person=cap)
            tables += [one] if columns else []
            silent = tables_and_columns is None or any(f.table == table.name for f in found)
            if not columns and not silent:
                found.append(Finding("nothing_leaves", "no column of this table may leave", table.name))
    found += unplaced_findings(caps or {}, [table.name for table in tables])
    if not tables:
        refuse_all("plan_invalid", _REFUSED, found or [Finding("nothing_asked", "no table is asked for")])
    plan = Plan(version_id=version_id, tables=tuple(tables), filter=tuple(filter), privacy=privacy)
    plan = _without_twins(plan, dictionary, asked)
    refuse_all("plan_invalid", _REFUSED, [*found, *plan_findings(plan, dictionary)])
    return plan


def check(plan: Plan, dictionary: Dictionary) -> None:
    """Raise `Problem("plan_invalid")` with every finding at once; a checked plan can be run."""
    refuse_all("plan_invalid", _REFUSED, plan_findings(plan, dictionary))


def filter_columns(plan: Plan) -> tuple[tuple[str, str], ...]:
    """(table, column) of every filter, each once, sorted; the verifier counts them as quasi-identifiers."""
    return tuple(sorted({(condition.table, condition.column) for condition in plan.filter}))


def plan_findings(plan: Plan, dictionary: Dictionary) -> Iterator[Finding]:
    """Everything that is wrong with a plan."""
    chosen: dict[tuple[str, str], tuple[Table, Chosen]] = {}
    for name, count in Counter(table.name for table in plan.tables).items():
        if count > 1:
            yield Finding("duplicate_table", "a table is planned once", name, count=count, pointer="/tables")
    for i, planned in enumerate(plan.tables):
        table = _table(dictionary, planned.name)
        if table is None:
            yield _unknown_table(dictionary, planned.name, pointer("tables", i))
            continue
        yield from _table_findings(table, planned, pointer("tables", i))
        yield from cap_findings(dictionary, plan, table, planned, pointer("tables", i))
        for j, column in enumerate(planned.columns):
            here = pointer("tables", i, "columns", j)
            result = _resolve(dictionary, table, column, plan.privacy, here)
            if not isinstance(result, Chosen):
                yield from result
            elif result.transform.name != "drop":
                chosen[table.name, column.name] = (table, result)
    yield from timeline_findings(chosen)
    yield from twin_findings(chosen)
    yield from privacy_findings(plan.privacy, [choice for _, choice in chosen.values()])
    for i, condition in enumerate(plan.filter):
        yield from _condition(plan, dictionary, chosen, condition, pointer("filter", i))


def _planned(
    dictionary: Dictionary, table: Table, asked: Sequence[str], privacy: Privacy
) -> tuple[PlannedColumn, ...]:
    planned: list[PlannedColumn] = []
    for column in table.fields:
        reason = reason_of(table, column)
        wanted = not asked or column.name in asked or column.role.kind == "participant_id"
        choice = default(dictionary, table, column, privacy) if wanted else None
        if choice is not None:
            planned.append(choice)
        if reason is not None and (choice is not None or reason.name in asked):
            planned.append(reason)
    # People alone are no answer to a wish for columns of which none may leave.
    wished = not asked or any(
        column.transform != "pseudonymise" or column.name in asked for column in planned
    )
    return tuple(planned) if wished else ()


def _without_twins(plan: Plan, dictionary: Dictionary, asked: Mapping[str, Sequence[str]]) -> Plan:
    found = [one for one in plan_findings(plan, dictionary) if one.code == "date_twin"]
    twins = {(one.table, one.column) for one in found if one.column not in asked[one.table or ""]}
    both = {*twins, *((table, f"{column}{MISSING_SUFFIX}") for table, column in twins)}
    tables = (
        t.model_copy(update={"columns": tuple(c for c in t.columns if (t.name, c.name) not in both)})
        for t in plan.tables
    )
    return plan.model_copy(update={"tables": tuple(tables)})


def _selection_findings(dictionary: Dictionary, asked: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for name, columns in asked.items():
        table = _table(dictionary, name)
        if table is None:
            yield _unknown_table(dictionary, name)
            continue
        for wish in dict.fromkeys(columns):
            try:
                column, is_reason = find(table, wish)
            except KeyError:
                yield _unknown_column(table, wish)
                continue
            if not allowed(table, column, is_reason) - {"drop"}:
                yield _never(table, wish, column, is_reason)


def _table_findings(table: Table, planned: PlannedTable, here: str) -> Iterator[Finding]:
    for name, count in Counter(column.name for column in planned.columns).items():
        if count > 1:
            yield Finding(
                "duplicate_column", "a column is planned once", table.name, name, count=count, pointer=here
            )
    present = {column.name for column in planned.columns if column.transform != "drop"}
    if not present:
        yield Finding("nothing_leaves", "no column of this table leaves", table.name, pointer=here)
    elif table.kind != "reference":
        for column in table.of_role("participant_id"):
            if column.name not in present:
                yield Finding(
                    "pseudonym_missing", "who holds the extract must be able to delete a person's rows: add the column",
                    table.name, column.name, pointer=here,
                )  # fmt: skip


def _resolve(
    dictionary: Dictionary, table: Table, planned: PlannedColumn, privacy: Privacy, here: str
) -> Chosen | list[Finding]:
    def found(code: str, detail: str, at: str = "", near: tuple[str, ...] = ()) -> Finding:
        return Finding(code, detail, table.name, planned.name, pointer=here + at, near=near)

    try:
        column, is_reason = find(table, planned.name)
    except KeyError:
        return [_unknown_column(table, planned.name, here)]
    transform = transforms().get(planned.transform)
    if transform is None:
        return [
            found(
                "unknown_transform",
                "there is no such transform",
                "/transform",
                near(planned.transform, transforms()),
            )
        ]
    options = allowed(table, column, is_reason)
    if transform.name not in options:
        if not options - {"drop"}:
            return [_never(table, planned.name, column, is_reason, here)]
        kind = f"a {column.role.kind} of type {column.type} in a {table.kind} table"
        detail = f"{kind} leaves by {', '.join(sorted(options))}"
        return [found("transform_not_allowed", detail, "/transform")]
    try:
        params = transform.Params.model_validate(planned.params)
    except ValidationError as error:
        # Only the library's codes and places: its messages quote the input.
        details = error.errors(include_url=False, include_input=False, include_context=False)
        return [found("bad_params", one["type"], pointer("params", *one["loc"])) for one in details]
    if misfit := transform.fits(column, params):
        return [found("bad_params", misfit, "/params")]
    weak = list(weaknesses(dictionary, table, column, params, transform.name, privacy))
    return [found(*one, "/params") for one in weak] or Chosen(planned, column, transform, params, is_reason)


def _condition(
    plan: Plan,
    dictionary: Dictionary,
    chosen: Mapping[tuple[str, str], tuple[Table, Chosen]],
    condition: Condition,
    here: str,
) -> Iterator[Finding]:
    table = _table(dictionary, condition.table)
    if table is None:
        yield _unknown_table(dictionary, condition.table, here)
        return
    place = chosen.get((condition.table, condition.column))
    if place is not None:
        for code, detail in condition_findings(dictionary, table, condition, place[1]):
            yield Finding(code, detail, condition.table, condition.column, pointer=here)
        return
    try:
        find(table, condition.column)
    except KeyError:
        yield _unknown_column(table, condition.column, here)
        return
    if not any(
        t.name == table.name and any(c.name == condition.column and c.transform != "drop" for c in t.columns)
        for t in plan.tables
    ):
        yield Finding(
            "filter_not_in_plan",
            "a filter uses only columns that leave",
            condition.table,
            condition.column,
            pointer=here,
        )


def _table(dictionary: Dictionary, name: str) -> Table | None:
    return next((table for table in dictionary.tables if table.name == name), None)


def _unknown_table(dictionary: Dictionary, name: str, here: str | None = None) -> Finding:
    close = near(name, (table.name for table in dictionary.tables))
    return Finding("unknown_table", "the dictionary has no such table", name[:64], pointer=here, near=close)


def _unknown_column(table: Table, name: str, here: str | None = None) -> Finding:
    close = near(name, (column.name for column in table.fields))
    return Finding(
        "unknown_column", "the table has no such column", table.name, name[:128], pointer=here, near=close
    )


def _never(table: Table, name: str, column: Column, is_reason: bool, here: str | None = None) -> Finding:
    kind = f"a {column.role.kind} of type {column.type} in a {table.kind} table"
    what = f"the reason why {kind} is missing" if is_reason else kind
    return Finding("never_leaves", f"{what} never leaves", table.name, name, pointer=here)
