"""Apache Spark, on this machine or on a cluster: the engine for extracts that outgrow one machine (ADR 42)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager

from app.engines.duckdb import DuckDbEngine
from app.engines.protocol import Limits, Run, Source
from app.engines.spark.opening import must_be_here, opened
from app.engines.spark.run import SparkRun
from app.storage.vault import Vault


def _version() -> str:
    try:
        return f"spark {importlib.metadata.version('pyspark')}"
    except importlib.metadata.PackageNotFoundError:
        return "spark"


class SparkEngine(DuckDbEngine):
    """Opens runs that read rows on Spark. What touches few rows of few people (the parts that change when somebody
    leaves, where a person is, a count) stays with DuckDB: the parts are the same (ADR 42)."""

    name = "spark"

    def __init__(self, limits: Limits, vault: Vault) -> None:
        super().__init__(limits, vault)
        self.version = _version()

    def probe(self) -> None:
        """Raises Problem("engine_unavailable") where a Spark could not be started or reached from here."""
        must_be_here(self.limits)

    @contextmanager
    def open(self, source: Source) -> Iterator[Run]:
        """A run over the source; session and connection are closed at the end. One at a time in a process."""
        files = self.files(source)
        con = self._connect(source)
        try:
            with opened(self.limits, source.spill) as session:
                yield SparkRun(con, source, self.limits, session, files)
        finally:
            con.close()


ENGINE = SparkEngine
