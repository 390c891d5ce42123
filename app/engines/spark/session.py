"""A Spark session for one run: its files lie in the job's spill folder, it listens on this machine and logs nothing."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from app.engines.duckdb.sql import quoted, text
from app.engines.protocol import Limits
from app.engines.spark.dialect import NOT_A_PLAIN_ID
from app.errors import Problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_TYPES = {
    "string": "STRING", "int64": "BIGINT", "int32": "INT", "double": "DOUBLE", "bool": "BOOLEAN",
    "date32[day]": "DATE", "timestamp[us]": "TIMESTAMP_NTZ", "binary": "BINARY",
}  # fmt: skip
_FOLDERS: list[Path] = []  # of the first session of the Java that runs
_ONE = threading.Lock()  # a process has one Spark context: builds on Spark come one after the other
_LOGS = Path(__file__).with_name("log4j2.properties")
# One plan must mean the same on both engines, and no literal may be taken for a variable.
_MEANING = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.variable.substitute": "false",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.compression.codec": "lz4_raw",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "true",
}


class Session:
    """SQL over views of Parquet files. What is many rows stays in files; only small answers become tables here."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self.folder, self._made = spark, folder, 0
        self.asked: list[str] = []

    def files(self, name: str, paths: Sequence[Path], row: str | None = None) -> None:
        """A view of Parquet files; a column that came later is null in the files before it. `row` names a column to
        add: the place of each row in its file."""
        found = self._spark.read.schema(_columns(paths)).parquet(*(str(path) for path in paths))
        if row is not None:
            place = "_metadata.file_name || ':' || CAST(_metadata.row_index AS STRING)"
            found = found.selectExpr("*", f"{place} AS {quoted(row)}")
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

    def number(self, query: str) -> int:
        """One number; 0 of nothing."""
        return int(self.ask(query).column(0)[0].as_py() or 0)

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
            writer.parquet(str(folder))
        return folder

    def _run(self, query: str) -> Any:
        self.asked.append(query)
        return self._spark.sql(query)

    def _path(self) -> Path:
        self._made += 1
        return self.folder / f"{self._made}.parquet"


def _columns(paths: Sequence[Path]) -> str:
    """The columns of all files, as Spark is told them: to find them out it would run a query for each view."""
    schema = pa.unify_schemas([pq.read_schema(path).remove_metadata() for path in paths])
    return ", ".join(f"`{field.name.replace('`', '``')}` {_TYPES[str(field.type)]}" for field in schema)


@contextmanager
def opened(limits: Limits, spill: Path) -> Iterator[Session]:
    """A session on this machine, on a cluster, or behind Spark Connect, as `limits.spark` says; it ends with the run,
    and whatever it wrote goes with the spill."""
    folder = spill / "spark"
    folder.mkdir(mode=0o700)
    with _ONE:
        try:
            spark = _start(limits, folder)
            try:
                yield Session(spark, folder)
            finally:
                spark.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _wipe_what_java_remembers(folder)


def must_be_here(limits: Limits) -> None:
    """Problem("engine_unavailable") where PySpark is not installed, or no Java that it could start."""
    try:
        importlib.metadata.version("pyspark")
    except importlib.metadata.PackageNotFoundError as missing:
        detail = "Apache Spark is not installed here: the extra `spark` of Baekman."
        raise Problem("engine_unavailable", detail) from missing
    home = os.environ.get("JAVA_HOME")
    if not _is_remote(limits) and shutil.which("java", path=f"{home}/bin" if home else None) is None:
        raise Problem("engine_unavailable", "Apache Spark needs a Java 17; there is none on the path.")


def _is_remote(limits: Limits) -> bool:
    return limits.spark.startswith("sc://")


def _start(limits: Limits, folder: Path) -> SparkSession:
    must_be_here(limits)
    from pyspark.sql import SparkSession  # here: only workers that need it have it

    logging.getLogger("SQLQueryContextLogger").disabled = True  # it writes queries to standard error
    place = limits.spark or f"local[{limits.threads}]"
    builder = SparkSession.builder.appName("baekman")
    for name, value in _MEANING.items():
        builder = builder.config(name, value)
    try:
        if _is_remote(limits):
            spark = builder.remote(place).create()
        else:
            os.environ.pop("SPARK_LOCAL_DIRS", None)  # it would lead shuffled rows out of the job's folder
            for name, value in _settings(place, limits, folder).items():
                builder = builder.config(name, value)
            spark = builder.master(place).getOrCreate()
    except Exception as error:
        end_java()  # what half began would go on in the folder of this job
        detail = "Apache Spark did not start; is there a Java 17, and does the master answer?"
        raise Problem("engine_unavailable", detail) from error
    return spark


def _wipe_what_java_remembers(folder: Path) -> None:
    """A Java goes on making temporary files in the folder of its first context, which was that of a job long gone."""
    _FOLDERS.append(folder)
    first = _FOLDERS[0]
    if first != folder:
        shutil.rmtree(first, ignore_errors=True)
        with suppress(OSError):  # not empty, or not there: then it is somebody's
            first.parent.rmdir()
            first.parent.parent.rmdir()
    del _FOLDERS[1:]


def end_java() -> None:
    """End the Java of this process, if there is one; the next session starts another."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.kill()
        gateway.proc.wait()
        SparkContext._gateway = SparkContext._jvm = None


def _settings(place: str, limits: Limits, folder: Path) -> dict[str, str]:
    """What is settled when a context starts. On a cluster the addresses and memory are the deployment's."""
    quiet = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.eventLog.enabled": "false",
        "spark.metrics.appStatusSource.enabled": "false",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "local"),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGS}",
    }
    if not place.startswith("local"):
        return quiet
    return {
        **quiet,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": limits.spark_memory,
        "spark.sql.shuffle.partitions": str(2 * limits.threads),
        "spark.default.parallelism": str(limits.threads),
    }


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
