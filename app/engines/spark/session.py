"""SQL over views of Parquet files on Spark: what is many rows stays in files of the job's spill folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.engines.duckdb.sql import text
from app.engines.spark.dialect import NOT_A_PLAIN_ID
from app.errors import Problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PLACE = "_metadata.file_name || ':' || CAST(_metadata.row_index AS STRING)"
"""SQL: the place of a row in the files of a view."""
_TYPES = {
    "string": "STRING", "int64": "BIGINT", "int32": "INT", "double": "DOUBLE", "bool": "BOOLEAN",
    "date32[day]": "DATE", "timestamp[us]": "TIMESTAMP_NTZ", "binary": "BINARY",
}  # fmt: skip


class Session:
    """SQL over views of Parquet files. What is many rows stays in files; only small answers become tables here."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self.folder, self._made = spark, folder, 0
        self.asked: list[str] = []

    @property
    def version(self) -> str:
        """Of the Spark that answers, which behind Spark Connect is not the one installed here."""
        return self._spark.version

    def end(self) -> None:
        """Nothing can be asked any more, and Spark forgets the session."""
        self._spark.stop()

    def files(self, name: str, paths: Sequence[Path], more: Sequence[str] = ()) -> None:
        """A view of Parquet files; a column that came later is null in the files before it. `more`: further columns,
        as SQL with their names."""
        found = self._spark.read.schema(_columns(paths)).parquet(*map(_place, paths))
        if more:
            found = found.selectExpr("*", *more)
        found.createOrReplaceTempView("`" + name.replace("`", "``") + "`")

    def lay(self, name: str, con: duckdb.DuckDBPyConnection, query: str) -> None:
        """A view of what a query of DuckDB finds; it goes through a file, never through a plan."""
        path = self._path()
        con.execute(f"COPY ({query}) TO {text(str(path))} (FORMAT parquet)")
        self.files(name, [path])

    def lay_table(self, name: str, table: pa.Table) -> None:
        """A view of a table."""
        path = self._path()
        pq.write_table(table, path)
        self.files(name, [path])

    def ask(self, query: str) -> pa.Table:
        """A small answer."""
        with _in_our_words():
            return self._run(query).toArrow()

    def ask_each(self, queries: Sequence[str]) -> list[pa.Table]:
        """Small answers to queries of the same columns, their rows in any order. They are asked as one: to plan and
        start a query takes Spark longer than a table of a million rows."""
        if len(queries) < 2:
            return [self.ask(query) for query in queries]
        each = (f"SELECT {n} AS asked, * FROM ({query}) AS q{n}" for n, query in enumerate(queries))
        found = self.ask(" UNION ALL ".join(each))
        return [found.filter(pc.equal(found["asked"], n)).drop_columns("asked") for n in range(len(queries))]

    def fetch(self, query: str, con: duckdb.DuckDBPyConnection, name: str) -> None:
        """An answer of any size, as the table `name` of DuckDB."""
        folder = self.write(query)
        con.execute(f"CREATE OR REPLACE TABLE {name} AS FROM read_parquet({text(f'{folder}/*.parquet')})")
        shutil.rmtree(folder)

    def keep(self, query: str, name: str) -> None:
        """An answer of any size, as the view `name`."""
        self.files(name, sorted(self.write(query).glob("*.parquet")))

    def write(self, query: str, by: str | None = None) -> Path:
        """The rows as Parquet files of a new folder; with `by`, one file a value of that column, each in a folder
        `<by>=<value>` of its own."""
        folder = self._path()
        with _in_our_words():
            rows = self._run(query)
            writer = rows.write if by is None else rows.repartition(by).write.partitionBy(by)
            writer.parquet(_place(folder))
        return folder

    def _run(self, query: str) -> Any:
        self.asked.append(query)
        return self._spark.sql(query)

    def _path(self) -> Path:
        self._made += 1
        return self.folder / f"{self._made}.parquet"


def _place(path: Path) -> str:
    """A path as Spark is told it: a cluster may take one without a scheme for a path of its own file system."""
    return f"file://{path}"


def _columns(paths: Sequence[Path]) -> str:
    """The columns of all files, as Spark is told them: to find them out it would run a query for each view."""
    schema = pa.unify_schemas([pq.read_schema(path).remove_metadata() for path in paths])
    return ", ".join(f"`{field.name.replace('`', '``')}` {_TYPES[str(field.type)]}" for field in schema)


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Spark's messages quote values: what fails is told by its kind alone."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        if NOT_A_PLAIN_ID in str(error):
            detail = "Ids that are numbers with more than four decimals are keyed by DuckDB only."
            raise Problem("engine_cannot", detail) from None
        condition = getattr(error, "getCondition", lambda: None)()
        raise SparkFailed(type(error).__name__, condition) from None


class SparkFailed(Exception):
    """A query that Spark could not run: the kind of its error, and Spark's name for it."""

    def __init__(self, kind: str, condition: str | None) -> None:
        super().__init__(f"{kind} {condition or ''}".strip())
        self.condition = condition
