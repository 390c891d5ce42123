"""Rows of people leave a checked table: a new object without them, streamed in the old order, takes its place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.engines.intake.connection import Connection
from app.engines.intake.onto import ROW_GROUP, nulls_in
from app.engines.intake.reading import literal, quoted, scan
from app.storage.spill import held_folder
from app.storage.vault import Vault

_PERSON = re.compile(r"__participant(_[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A table without some people: its object, what it holds, how many rows are gone, and what is null in the others,
    by column: {name, nulls, missing}."""

    object_name: str
    rows: int
    people: int
    bytes: int
    sha256: str
    gone: int
    columns: list[dict[str, Any]]


@dataclass(frozen=True)
class DestructionEngine:
    """Rewrites objects of the vault under a memory limit such as `2GB`; `spill` holds what does not fit."""

    vault: Vault
    spill: Path
    memory: str
    threads: int

    def without(
        self, job_id: str, object_name: str, version_id: str, table: str, keys: Sequence[int]
    ) -> Rewritten | None:
        """The rows of an object of a version's table without those of these people, as a new object beside it; None
        where no row is theirs. A row of a link table goes with the first of its people. Same input, same keys: same
        object, so that versions which shared the old one share the new one."""
        place = object_name.rpartition("/")[0] or version_id
        with self._folder(job_id) as folder:
            old = self.vault.local_path(object_name, folder)
            people = [name for name in pq.read_schema(old).names if _PERSON.fullmatch(name)]
            if not people or not keys:
                return None
            con = Connection(folder, self.memory, self.threads, [old])
            try:
                theirs = " OR ".join(_marked(con, keys, people))
                return self._rewritten(con, old, folder, people, theirs, f"{place}/{table}")
            finally:
                con.close()

    def emptied(self, job_id: str, object_name: str, version_id: str, table: str) -> Rewritten | None:
        """The same with no row at all, whether or not the table has people; None where it has none already. Its columns
        stay, so that a united version reads on over what others hold."""
        place = object_name.rpartition("/")[0] or version_id
        with self._folder(job_id) as folder:
            old = self.vault.local_path(object_name, folder)
            people = [name for name in pq.read_schema(old).names if _PERSON.fullmatch(name)]
            con = Connection(folder, self.memory, self.threads, [old])
            try:
                return self._rewritten(con, old, folder, people, "true", f"{place}/{table}")
            finally:
                con.close()

    def people(self, job_id: str, objects: Sequence[str]) -> int:
        """The distinct people of several objects of one table."""
        with self._folder(job_id) as folder:
            files = [self.vault.local_path(name, folder) for name in objects]
            names = (
                [name for name in pq.read_schema(files[0]).names if _PERSON.fullmatch(name)] if files else []
            )
            con = Connection(folder, self.memory, self.threads, files)
            try:
                each = [f"SELECT {quoted(name)} AS k FROM {scan(files)}" for name in names]
                return con.one(f"SELECT count(DISTINCT k) FROM ({' UNION ALL '.join(each)})") if each else 0
            finally:
                con.close()

    def discard(self, name: str) -> None:
        """Destroy an object; it is no error where it is gone already."""
        self.vault.delete(name)

    def names(self, before: datetime | None = None) -> list[str]:
        """Every object of the vault, or those written before a moment."""
        return self.vault.list(before)

    def _rewritten(
        self, con: Connection, old: Path, folder: Path, people: Sequence[str], theirs: str, name: str
    ) -> Rewritten | None:
        con.ask(f"CREATE VIEW held AS SELECT * FROM read_parquet({literal(str(old))})")
        gone = con.one(f"SELECT count(*) FROM held WHERE {theirs}")
        if not gone:
            return None
        path = folder / "table.parquet"
        con.ask(
            f"COPY (SELECT * FROM held WHERE NOT ({theirs})) TO {literal(str(path))}"
            f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )
        con.ask(f"CREATE VIEW left_over AS SELECT * FROM read_parquet({literal(str(path))})")
        every = " UNION ".join(f"SELECT DISTINCT {quoted(p)} AS k FROM left_over" for p in people)
        rows = con.one("SELECT count(*) FROM left_over")
        distinct = con.one(f"SELECT count(*) FROM ({every})") if people else 0
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stored = self.vault.put_file(path, f"{name}.{digest[:32]}.parquet")
        nulls = list(nulls_in("left_over", con))
        return Rewritten(stored.name, rows, distinct, stored.bytes, stored.sha256, gone, nulls)

    @contextmanager
    def _folder(self, job_id: str) -> Iterator[Path]:
        with held_folder(self.spill, job_id) as folder:
            yield folder


def _marked(con: Connection, keys: Sequence[int], people: Sequence[str]) -> Iterator[str]:
    """For each participant column the condition that its person is one of the keys.

    One bit a key between the lowest and the highest: a join would write rows in another order, and a long list would be
    gone through for every row.
    """
    low, high = min(keys), max(keys)
    bits = bytearray(b"0" * (high - low + 1))
    for key in keys:
        bits[key - low] = ord("1")
    con.register("gone", pa.table({"bits": [bits.decode()]}))
    con.ask("SET VARIABLE gone = (SELECT CAST(bits AS BIT) FROM gone)")
    for name in map(quoted, people):
        inside = f"{name} BETWEEN {low} AND {high}"
        yield f"CASE WHEN {inside} THEN get_bit(getvariable('gone'), {name} - {low}) = 1 ELSE false END"
