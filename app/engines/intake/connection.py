"""A DuckDB connection that sees one upload and a folder, and nothing else of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app import duck
from app.engines.intake.reading import literal, quoted
from app.jobs.cancelling import breaks_off


class Connection:
    """Queries over the files it was given. Its settings are locked: no query can widen what it sees."""

    def __init__(self, folder: Path, memory: str, threads: int, files: Sequence[Path]) -> None:
        self._con = duck.opened()
        breaks_off(self._con.interrupt)
        paths = ", ".join(literal(str(path)) for path in files)
        for setting in (
            f"memory_limit = {literal(memory)}",
            f"threads = {int(threads)}",
            f"temp_directory = {literal(str(folder / 'spill'))}",
            f"allowed_paths = [{paths}]",
            f"allowed_directories = [{literal(str(folder) + '/')}]",
            "enable_progress_bar = false",
            "enable_external_access = false",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "TimeZone = 'UTC'",
            "preserve_insertion_order = true",
            "lock_configuration = true",
        ):
            self.ask(f"SET {setting}")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Run a statement; all its rows."""
        return list(self._con.execute(query).fetchall())

    def one(self, query: str) -> int:
        """The number that a query answers with."""
        return int(self.ask(query)[0][0])

    def batches(self, query: str, rows: int) -> Iterator[pa.Array]:
        """The first column of a query, at most `rows` at a time; to be drained before the next question."""
        for batch in self._con.sql(query).to_arrow_reader(rows):
            yield batch.column(0)

    def numbers(self, query: str) -> npt.NDArray[np.int64]:
        """The first column of a query, whole numbers none of which is missing, in an array of its own."""
        column = self._con.sql(query).to_arrow_table().column(0)
        return np.concatenate([np.empty(0, np.int64), *(part.to_numpy() for part in column.chunks)])

    def record_batches(self, query: str, rows: int) -> Iterator[pa.RecordBatch]:
        """What a query answers, at most `rows` at a time; to be drained before the next question."""
        yield from self._con.sql(query).to_arrow_reader(rows)

    def names(self, source: str) -> list[str]:
        """The columns of what can be selected from."""
        return list(self.types(source))

    def types(self, source: str) -> dict[str, str]:
        """The columns of what can be selected from, in their order, each with DuckDB's name of its type."""
        return {str(row[0]): str(row[1]) for row in self.ask(f"DESCRIBE FROM {source}")}

    def table(self, source: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of what can be selected from; for tables that fit in memory."""
        return self._con.sql(f"SELECT {', '.join(map(quoted, columns))} FROM {source}").to_arrow_table()

    def register(self, name: str, table: pa.Table) -> None:
        """Let queries read an Arrow table under a name."""
        self._con.register(name, table)

    def close(self) -> None:
        """Close the connection; nothing can be asked any more."""
        with suppress(duckdb.Error):
            self._con.close()
