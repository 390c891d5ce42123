"""Hierarchies that a reference table holds are read from the vault once, before anything is fitted."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from app.deid import hierarchies
from app.deid.hierarchies import HierarchyError
from app.engines.protocol import Engine, Source
from app.errors import Finding, Problem


def settled(engine: Engine, source: Source) -> Source:
    """The source with every hierarchy of its dictionary resolved. `source.tables` must hold the reference tables.

    Raises Problem("anonymity_unreachable") where a table has changed since it was checked and does not serve.
    """
    wanted = hierarchies.references(source.dictionary.hierarchies)
    if not wanted:
        return source
    source.spill.mkdir(parents=True, exist_ok=True)
    files = engine.files(source)
    tables = {
        name: pa.concat_tables(pq.read_table(file, columns=list(columns)) for file in files[name])
        for name, columns in wanted.items()
    }
    try:
        resolved = hierarchies.resolve(source.dictionary.hierarchies, tables)
    except HierarchyError as error:
        found = [Finding(f"hierarchy_{code}", detail) for code, detail in error.problems]
        raise Problem("anonymity_unreachable", "A hierarchy cannot be read from its table.", found) from error
    return replace(source, dictionary=source.dictionary.model_copy(update={"hierarchies": resolved}))
