"""Who meets the conditions of a count; released codes are kept between counts, by all that they follow from."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from threading import Lock

import duckdb
import numpy as np
import pyarrow as pa

from app.deid.filters import where
from app.engines.duckdb import codes
from app.engines.duckdb.filters import Filters
from app.engines.duckdb.sql import persons_of, quoted, stored
from app.engines.protocol import Keys, Source
from app.schemas.plan import Condition

MOST_BYTES = 16 << 20  # of codes kept by a process


class KeptCodes:
    """Tables (v, released) by a digest of what they follow from; the one asked for last stays longest.

    Who consents is part of the digest and is read by whoever asks, for each question: a code can be found here only by
    those whose people are the same to the last one."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._held, self._lock = most_bytes, OrderedDict[bytes, pa.Table](), Lock()

    def get(self, digest: bytes) -> pa.Table | None:
        """The table, where it is still kept."""
        with self._lock:
            if (found := self._held.get(digest)) is not None:
                self._held.move_to_end(digest)
            return found

    def put(self, digest: bytes, table: pa.Table) -> None:
        """Keep it, where it is not too large by itself; those asked for longest ago go."""
        if table.nbytes > self._most:
            return
        with self._lock:
            self._held[digest] = table
            while sum(one.nbytes for one in self._held.values()) > self._most:
                self._held.popitem(last=False)


class CountFilters(Filters):
    """The conditions of a count. What a condition on labels or codes lets pass is looked up once a value, not a row."""

    def __init__(self, con: duckdb.DuckDBPyConnection, source: Source, kept: KeptCodes) -> None:
        super().__init__(con, source)
        self._kept = kept

    def one(self, condition: Condition) -> str:
        """One condition as a predicate over the rows `t` of its table; a missing value never passes."""
        table, choice = self._choice(condition)
        if not condition.values or (laid := self._laid(table, choice, condition.level)) is None:
            return super().one(condition)
        raw = f"t.{quoted(choice.planned.name)}"
        return (
            f"{raw} IN (SELECT v FROM {laid.name} WHERE {where(condition, choice, 'v', laid.column, self.r)})"
        )

    def _build_codes(self, rollup: codes.Rollup, name: str, rows: str) -> None:
        if self.source.united:  # what its tables hold follows from mappings too
            super()._build_codes(rollup, name, rows)
            return
        digest = self._digest(rollup)
        if (known := self._kept.get(digest)) is None:
            super()._build_codes(rollup, name, rows)
            found = self._ask(f"SELECT v, released FROM {name} WHERE released IS NOT NULL ORDER BY v")
            self._kept.put(digest, found)
        else:
            self._lay(name, known)

    def _digest(self, rollup: codes.Rollup) -> bytes:
        """Of the rows (a vault object is named by its content), the rule, and each person whose consent covers them."""
        table = rollup.table
        rule = [
            table.name, self.source.tables[table.name], persons_of(table), rollup.column.name, rollup.at_least,
            rollup.spec, rollup.first_level,
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(rule, sort_keys=True, default=str).encode())
        crosswalk = self.source.crosswalk
        here = crosswalk.filter(crosswalk[f"in_{table.domain}"])
        for column in sorted({"key", "person", "counted"} & set(crosswalk.column_names)):
            digest.update(column.encode() + np.ascontiguousarray(here[column].to_numpy()).tobytes())
        return digest.digest()


def meeting(
    con: duckdb.DuckDBPyConnection, source: Source, conditions: tuple[Condition, ...], kept: KeptCodes
) -> Keys:
    """The people of the crosswalk who meet all conditions (an event condition: in any row), linked ones once."""
    filters = CountFilters(con, source, kept)
    tests = [(f"in_{source.dictionary.people.domain}", "true")]
    for condition in conditions:
        table = source.dictionary.table(condition.table)
        rows = f"SELECT t.{persons_of(table)[0]} FROM {stored(table)} t WHERE {filters.one(condition)}"
        tests.append((f"in_{table.domain}", f"key IN ({rows})"))
    if source.is_linked:  # each condition may be met by another of a person's participants
        each = (f"SELECT person FROM x WHERE {domain} AND {met}" for domain, met in tests)
        query = f"SELECT DISTINCT person FROM ({' INTERSECT '.join(each)}) ORDER BY person"
    else:
        every = " AND ".join(f"{domain} AND {met}" for domain, met in tests)
        query = f"SELECT person FROM x WHERE {every} ORDER BY person"
    found = con.sql(query).to_arrow_table()
    return np.asarray(found["person"].to_numpy(), dtype=np.int32)
