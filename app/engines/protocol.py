"""What every engine is asked for: group the people, take the classes, write the parts. Nothing else leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.deid.transforms import Rendering
from app.deid.window import Windows
from app.schemas.dictionary import Dictionary, Table
from app.schemas.mapping import MappedTable
from app.schemas.plan import Condition, Plan

Keys = npt.NDArray[np.int32]
MOST_LISTED = 200  # of the unmapped values of one column


@dataclass(frozen=True, slots=True)
class Limits:
    """What one engine may use: memory such as `2GB`, threads, rows of one part before a table is cut further.

    `spark` is a master or a Spark Connect URL (empty: this machine, with `threads`), `spark_memory` the heap of a Spark
    on this machine, such as `1g`; where the engine goes by size, extracts that read `spark_from` bytes of the vault or
    more go to it."""

    memory: str
    threads: int
    rows_per_part: int
    spark: str = ""
    spark_memory: str = "1g"
    spark_from: int = 2**35


@dataclass(frozen=True, slots=True)
class Member:
    """One source's part of a united table: its name, its own table and vault objects, and how it is mapped."""

    source: str
    table: Table
    objects: tuple[str, ...]
    mapped: MappedTable


@dataclass(frozen=True, slots=True)
class Unmapped:
    """What a source's rows hold in one column that the mapping does not name: at most `MOST_LISTED` values, units or
    codes, the commonest first, each with its rows and distinct people; and how many there are in all. A value that the
    united hierarchy does not cover is told by its number alone (`code` of a HierarchyError)."""

    source: str
    table: str
    column: str
    what: str  # value | unit | code | hierarchy
    entries: tuple[tuple[str | None, int, int], ...]
    distinct: int
    detail: str = ""


@dataclass(frozen=True)
class Source:
    """What an engine reads: the checked tables (name -> vault objects), or united ones (name -> what each source adds),
    and the crosswalk, which is the only way out.

    `crosswalk` has one row a participant whose consent covers the purpose now: key int32, rank int32 (order of the
    pseudonyms), pseudonym text, slice uint32 (its first 32 bits), shift_days int32, and one boolean
    `in_<domain>` a consent domain. Over several cohorts it has `counted` int32, the same for whom k counts once; and
    where they are linked `person` int32, the same for whom the project knows as one (each one of that person's keys).
    `record_key` is what the ids of records, staff and families are keyed under (`deid.keyed`), empty where
    nothing is released.
    `forebears` names the vault objects that a table comes from by the destruction of people alone.
    `windows` are those pinned by an earlier release; None: the run finds them (see `deid.window`).
    `rendering` is the dialect that questions about the rows are written in.
    """

    dictionary: Dictionary
    plan: Plan
    tables: Mapping[str, tuple[str, ...]]
    crosswalk: pa.Table
    record_key: bytes
    spill: Path
    forebears: Mapping[str, frozenset[str]] = field(default_factory=dict)
    windows: Windows | None = None
    united: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    rendering: type[Rendering] = Rendering

    @property
    def is_linked(self) -> bool:
        """Whether people of several cohorts are known to be the same."""
        return "person" in self.crosswalk.column_names


@dataclass(frozen=True)
class Groups:
    """The frequency table of the people who pass the filter.

    `columns[i]` holds the distinct raw values of quasi-identifier i, and `codes` int32 (n, columns) indexes them.
    `counts` int64 (n, 1 + tables) has the people and then, per entry of `tables`, the people present there.
    `histograms[name]` is (values, int64 (n, values)) of a sensitive column. `attrition` counts registered, consented,
    filtered people; `outsiders` the people per table who have no row in the participant table.
    """

    names: tuple[str, ...]
    columns: tuple[list[object], ...]
    codes: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    tables: tuple[str, ...]
    histograms: Mapping[str, tuple[list[object], npt.NDArray[np.int64]]]
    attrition: Mapping[str, int]
    outsiders: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Classes:
    """The answer to `Groups`: int32 (n,) class of each tuple (-1: suppressed), and each class's label per column."""

    of_tuple: npt.NDArray[np.int32]
    labels: Mapping[int, tuple[str | None, ...]]


@dataclass(frozen=True)
class StagedPart:
    """One Parquet file in the staging place, named by its content; not yet released."""

    table: str
    position: int
    path: Path
    rows: int
    bytes: int
    sha256: str


Progress = Callable[..., None]
Place = tuple[str, int]  # table, position


class NotLocal(Exception):
    """What changed since the last generation cannot be told part by part; `reason` is one short word for people."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Kept:
    """What a run leaves for the next generation of the same extract: tables by name, and `about` (JSON), what they are
    true of. The engine that wrote it reads it; to all others it is sealed."""

    about: Mapping[str, Any]
    tables: Mapping[str, pa.Table]


class Run(Protocol):
    """One plan over one source. `made_by`: the engine and its version, which the papers of a release name."""

    made_by: str

    def groups(self) -> Groups:
        """The frequency table of the eligible people who pass the filter."""

    def classify(self, classes: Classes) -> None:
        """Take the class of each tuple; suppressed people leave every table from here on."""

    def audience(self) -> pa.Table:
        """(key, pseudonym) of everyone who had consent and passed the filter, the suppressed too."""

    def smallest_group(self) -> int | None:
        """After `classify`: the fewest families of any class in any table; None where nobody is left."""

    def members(self) -> Keys:
        """The participant keys with at least one row in what will be written, sorted."""

    def people_of(self, table: str) -> int:
        """The number of people with at least one row in what will be written of this table."""

    def write(self, staging: Path, parts: Mapping[str, int], progress: Progress) -> list[StagedPart]:
        """Write every table of the plan in total order, cut into the given number of parts by pseudonym."""

    def changed(self) -> set[Place]:
        """After `write`: the places whose part was written anew; everywhere else the last generation's is the same."""

    def kept(self) -> Kept | None:
        """After `write`: what the next generation needs so as to write no more than what changes; None where the plan
        does not allow it."""

    def part_counts(self) -> dict[str, int]:
        """How many parts each table would be cut into, by its rows: clamp(rows / rows_per_part, 1, 256)."""

    def eligible(self) -> pa.Table:
        """(table, pseudonym) of everyone whose consent covers each table, for the verifier."""

    def rolled_up(self) -> dict[str, dict[str, int]]:
        """Per `table.column` of codes: codes kept, rolled up, dropped."""

    def rows_in(self) -> dict[str, int]:
        """Per table of the plan, the rows in the vault."""

    def windows(self) -> Windows:
        """After `groups`: the days that each column of moved dates may leave by."""

    def outside(self) -> dict[str, int]:
        """After `classify`, per table of the plan: rows of the people who leave that lie outside the windows."""


class Engine(Protocol):
    """Opens runs."""

    name: str
    version: str

    def probe(self) -> None:
        """Raises a Problem where the engine could not run here; starts nothing."""

    def open(self, source: Source) -> AbstractContextManager[Run]:
        """A run over the source; its spill is wiped at the end."""

    def reopen(self, source: Source, kept: Kept, closed: Iterable[Place]) -> AbstractContextManager[Run]:
        """A run that writes only the parts which differ from the last generation's, and those at `closed`. Raises
        NotLocal, here or from the run's verbs, where that cannot be told."""

    def files(self, source: Source) -> dict[str, list[Path]]:
        """The vault's files of the source's tables, to read and never to write."""

    def unmapped(self, source: Source) -> list[Unmapped]:
        """What the rows under united tables hold that their mapping does not name; the crosswalk is not asked."""

    def places(
        self, source: Source, people: Mapping[int, int], parts: Mapping[str, int]
    ) -> dict[int, list[Place]]:
        """For each of the people (participant key -> slice of the pseudonym space) the places with rows of theirs."""

    def matching(self, source: Source, conditions: tuple[Condition, ...]) -> Keys:
        """The keys of the people of the crosswalk who meet all conditions (an event condition: in any row)."""
