"""A mapping as a whole: the united dictionary, and everything that the mapping leaves unsaid or says wrong; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from app.deid.dictionary_shape import near, pointer
from app.deid.mappings import Kind, MappingParams, kinds
from app.deid.roles import check_dictionary, stored
from app.deid.united_roles import weaker
from app.errors import Finding, refuse_all
from app.schemas.dictionary import Column, Dictionary, QuasiIdentifier, Table, Title
from app.schemas.mapping import SOURCE, MappedColumn, MappedSource, MappedTable, Mapping

KEYED = frozenset({"record_id", "family_id", "provider_id", "handle"})
_PARTICIPANT = "participant_id"


def read(document: dict[str, Any]) -> Mapping:
    """The mapping, if it has the shape that it must have; else a Problem `mapping_invalid` with every place."""
    try:
        return Mapping.model_validate(document)
    except ValidationError as error:
        found = [
            Finding(one["type"], "does not belong here, or not in this shape", pointer=pointer(*one["loc"]))
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        refuse_all("mapping_invalid", "The mapping does not have the shape it must have.", found)
        raise AssertionError("a validation error without findings") from None


def dictionary_of(mapping: Mapping) -> Dictionary:
    """The united dictionary with the column `source` on every table of people: on the participant table a
    quasi-identifier that is never generalised, so that every class is of one source, or of one set of them."""
    said = check_dictionary(mapping.dictionary)
    labels = {s.name: Title(**s.title) if s.title else Title(en=s.name) for s in mapping.sources}
    tables = [_named(table, labels) if table.kind != "reference" else table for table in said.tables]
    hierarchies = {**said.hierarchies, SOURCE: {"kind": "flat"}}
    return said.model_copy(update={"tables": tuple(tables), "hierarchies": hierarchies})


def findings(mapping: Mapping, target: Dictionary, sources: dict[str, Dictionary]) -> list[Finding]:
    """Everything that can be told without a row: unknown and unmapped tables and columns, types, units, vocabularies,
    labels, roles. `sources` holds the dictionary of each source by its name."""
    found: list[Finding] = []
    if len({s.version_id for s in mapping.sources}) < len(mapping.sources):
        found.append(Finding("version_twice", "each version is a source once", pointer="/sources"))
    for table in mapping.dictionary.get("tables", []):
        if SOURCE in [field.get("name") for field in table.get("fields", [])]:
            detail = f"the column `{SOURCE}` comes by itself"
            found.append(Finding("reserved_column", detail, table=str(table.get("name")), column=SOURCE))
    if SOURCE in mapping.dictionary.get("hierarchies", {}):
        found.append(Finding("reserved_hierarchy", f"the hierarchy `{SOURCE}` comes by itself"))
    found += _ids(target)
    for i, source in enumerate(mapping.sources):
        found += _source(source, target, sources[source.name], pointer("sources", i))
    return found


def kind_of(mapped: MappedColumn) -> tuple[Kind[Any], MappingParams] | None:
    """The kind of a column's mapping with its parameters; None where there is no such kind or they do not fit it."""
    kind = kinds().get(mapped.by)
    if kind is None:
        return None
    try:
        return kind, kind.Params.model_validate(mapped.params)
    except ValidationError:
        return None


def mapped_columns(table: Table) -> list[Column]:
    """The columns of a united table that every source must map: those that are kept, without `source`."""
    return [c for c in stored(table) if c.name != SOURCE]


def _named(table: Table, labels: dict[str, Title]) -> Table:
    role = QuasiIdentifier(
        kind="quasi_identifier", hierarchy=SOURCE, max_level=0 if table.kind == "participant" else None
    )
    title = Title(ko="출처", en="Source")
    column = Column(name=SOURCE, title=title, role=role, labels=labels, required=True)
    return table.model_copy(update={"fields": (*table.fields, column)})


def _ids(target: Dictionary) -> Iterator[Finding]:
    for table in target.tables:
        for column in table.fields:
            if column.role.kind in KEYED and column.type != "string" and table.kind != "reference":
                detail = (
                    "ids of several sources are told apart by the source's name: the united type is string"
                )
                yield Finding("id_not_string", detail, table=table.name, column=column.name)


def _source(source: MappedSource, target: Dictionary, own: Dictionary, here: str) -> Iterator[Finding]:
    names = [t.name for t in target.tables]
    for name in sorted(source.tables.keys() - set(names)):
        yield Finding(
            "unknown_table",
            "the united dictionary has no such table",
            table=name,
            pointer=here,
            near=near(name, names),
        )
    used: Counter[str] = Counter()
    for table in target.tables:
        mapped, place = source.tables.get(table.name), f"{here}/tables/{table.name}"
        if mapped is None:
            yield Finding("table_unmapped", "the source says nothing of it", table=table.name, pointer=place,
                          hint="name the source's table, or say why it is absent")  # fmt: skip
            continue
        if mapped.absent is not None:
            if mapped.source is not None or mapped.columns:
                yield Finding(
                    "absent_and_mapped", "a table is absent or mapped", table=table.name, pointer=place
                )
            elif table.kind == "participant":
                yield Finding("people_absent", "every source has people", table=table.name, pointer=place)
            continue
        theirs = next((t for t in own.tables if t.name == mapped.source), None)
        if theirs is None:
            known = near(mapped.source or "", [t.name for t in own.tables])
            yield Finding(
                "unknown_table", "the source has no such table", table=table.name, pointer=place, near=known
            )
            continue
        used[theirs.name] += 1
        yield from _table(mapped, table, theirs, place)
    for theirs in own.tables:
        if not used[theirs.name] and theirs.name not in source.left_out:
            yield Finding("table_unmapped", "the source's table is neither used nor left out", table=theirs.name,
                          pointer=f"{here}/left_out", hint="use it, or say in `left_out` why not")  # fmt: skip
        elif used[theirs.name] > 1:
            yield Finding(
                "table_twice", "a table of the source fills one table", table=theirs.name, pointer=here
            )


def _table(mapped: MappedTable, table: Table, theirs: Table, here: str) -> Iterator[Finding]:
    if table.kind != theirs.kind:
        detail = f"a table of the kind {theirs.kind} cannot become one of the kind {table.kind}"
        yield Finding("kind_differs", detail, table=table.name, pointer=here)
    if table.kind == "link" and len(table.participant) != len(theirs.participant):
        yield Finding("kind_differs", "the two join another number of people", table=table.name, pointer=here)
    if theirs.max_rows_per_person:
        detail = (
            "the source lets only so many rows of a person leave, which a united table cannot promise yet"
        )
        yield Finding("cap_of_united", detail, table=theirs.name, pointer=here)
    if table.domain != theirs.domain and table.kind != "reference":
        detail = f"people consented to {theirs.domain} data, not to {table.domain}"
        yield Finding("domain_differs", detail, table=table.name, pointer=here)
    names = [c.name for c in table.fields]
    for name in sorted(mapped.columns.keys() - {c.name for c in mapped_columns(table)}):
        if name not in names or name == SOURCE:
            yield Finding("unknown_column", "the united table has no such column", table=table.name, column=name,
                          pointer=here, near=near(name, names))  # fmt: skip
    for column in mapped_columns(table):
        place = f"{here}/columns/{column.name}"
        if (one := mapped.columns.get(column.name)) is None:
            yield Finding("column_unmapped", "the source says nothing of it", table=table.name, column=column.name,
                          pointer=place, hint="map it, or say by `missing` why there is none")  # fmt: skip
        else:
            yield from _column(one, column, table, theirs, place)
    taken = {one.source for one in mapped.columns.values()} | {
        c.unit_column for c in theirs.fields if c.unit_column
    }
    taken |= {site for one in mapped.columns.values() if (site := _site(one)) is not None}
    for column in stored(theirs):
        if column.name not in taken and column.name not in mapped.left_out:
            yield Finding("column_unmapped", "the source's column is neither used nor left out", table=theirs.name,
                          column=column.name, pointer=f"{here}/left_out", hint="use it, or say why not")  # fmt: skip
    for name in sorted(mapped.left_out.keys() - {c.name for c in theirs.fields}):
        yield Finding(
            "unknown_column",
            "the source's table has no such column",
            table=theirs.name,
            column=name,
            pointer=here,
        )


def _column(one: MappedColumn, column: Column, table: Table, theirs: Table, here: str) -> Iterator[Finding]:
    where: dict[str, Any] = {"table": table.name, "column": column.name, "pointer": here}
    found = kind_of(one)
    if found is None:
        detail = (
            f"known: {', '.join(sorted(kinds()))}"
            if one.by not in kinds()
            else "the parameters do not fit the kind"
        )
        yield Finding("unknown_mapping" if one.by not in kinds() else "bad_mapping", detail, **where)
        return
    kind, params = found
    own = None
    if kind.needs_source:
        own = next((c for c in stored(theirs) if c.name == one.source), None)
        if own is None:
            names = [c.name for c in stored(theirs)]
            detail = "the source's table keeps no such column"
            yield Finding("unknown_column", detail, near=near(one.source or "", names), **where)
            return
        yield from (Finding(code, detail, **where) for code, detail in weaker(own, column))
        if column.role.kind in KEYED and one.by != "same":
            yield Finding("id_recoded", "an id is taken over as it is", **where)
    elif one.source is not None:
        yield Finding("source_unused", f"`{one.by}` reads no column", **where)
    yield from (Finding(code, detail, **where) for code, detail in kind.findings(own, column, params))
    site, kept = _site(one), [c.name for c in stored(theirs)]
    if site is not None and site not in kept:
        detail = "the source's table keeps no such column of sites"
        yield Finding("unknown_column", detail, near=near(site, kept), **where)
    if own is not None:
        reasons = set(own.missing.values()) | kind.reasons(params)
        if lost := sorted(reasons - set(column.missing.values())):
            yield Finding(
                "reason_lost", f"why values are missing ({', '.join(lost)}) would be told no more", count=len(lost),
                hint="declare missing codes with these reasons in the united dictionary", **where,
            )  # fmt: skip


def _site(one: MappedColumn) -> str | None:
    """The column of the source by which a mapping tells its sites apart, where its kind does."""
    found = kind_of(one)
    return getattr(found[1], "site", None) if found else None
