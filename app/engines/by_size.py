"""The engine by size: DuckDB for what one machine reads in a while, Spark from so many bytes of the vault on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.engines.duckdb import DuckDbEngine
from app.engines.protocol import Limits, Run, Source
from app.engines.spark import SparkEngine
from app.storage.vault import Vault


class BySizeEngine(DuckDbEngine):
    """DuckDB, but for whole builds of what is large. The parts are the same (ADR 43), so that an extract which grows or
    shrinks over the threshold stays as it is."""

    name = "by_size"

    def __init__(self, limits: Limits, vault: Vault) -> None:
        super().__init__(limits, vault)
        self._large = SparkEngine(limits, vault)

    def probe(self) -> None:
        """As Spark's own: sooner or later something is large."""
        self._large.probe()

    @contextmanager
    def open(self, source: Source) -> Iterator[Run]:
        """A run over the source, on the engine that its size asks for."""
        small = super().open(source)
        with self._large.open(source) if self._bytes(source) >= self.limits.spark_from else small as run:
            yield run

    def _bytes(self, source: Source) -> int:
        objects = {name for held in source.tables.values() for name in held}
        objects |= {name for members in source.united.values() for m in members for name in m.objects}
        return sum(self.vault.size(name) for name in objects)


ENGINE = BySizeEngine
