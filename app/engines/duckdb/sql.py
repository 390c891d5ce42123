"""Names in SQL, quoted one way; and the connection every run starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from app import duck
from app.deid.transforms import Rendering
from app.engines.protocol import Limits
from app.jobs.cancelling import breaks_off
from app.schemas.dictionary import Table

VAULT = "vault"
DUCKDB = Rendering()


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def stored(table: Table, r: Rendering = DUCKDB) -> str:
    """A table of the vault as an SQL name. It has a schema of its own: a cohort may call a table `people` or `x`."""
    return r.inside(VAULT, table.name)


def text(value: str) -> str:
    """A string as an SQL literal; for names and paths of ours, never for values that come from people."""
    return "'" + value.replace("'", "''") + "'"


def scan(paths: Sequence[Path]) -> str:
    """The rows of a table's vault files. A column that came later is null in the files before it."""
    if len(paths) == 1:
        return f"read_parquet({text(str(paths[0]))})"
    listed = ", ".join(text(str(path)) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def persons_of(table: Table) -> list[str]:
    """The vault's participant columns of a table: one, or one a person on a link table."""
    if table.kind != "link":
        return ["__participant"]
    return [f"__participant_{n}" for n in range(1, len(table.participant) + 1)]


def connect(limits: Limits, spill: Path, readable: list[Path]) -> duckdb.DuckDBPyConnection:
    """A connection in memory that may read and write only the given folders, and whose settings are then locked."""
    con = duck.opened()
    breaks_off(con.interrupt)
    folders = ", ".join(text(f"{path.resolve()}/") for path in [spill, *readable])
    for statement in (
        f"SET memory_limit = {text(limits.memory)}",
        f"SET threads = {limits.threads}",
        f"SET temp_directory = {text(str(spill.resolve() / 'duckdb'))}",
        "SET TimeZone = 'UTC'",
        "SET autoinstall_known_extensions = false",
        "SET autoload_known_extensions = false",
        f"SET allowed_directories = [{folders}]",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        con.execute(statement)
    return con
