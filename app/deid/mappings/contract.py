"""What a kind of mapping promises: its parameters, what is wrong with them, its SQL, and what it leaves unmapped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from app.deid.transforms.contract import STORED
from app.schemas.dictionary import Column, MissingReason

# A value as it is stored, as text -> the united value (None: missing, and why).
Lookup = dict[str, tuple[str | None, MissingReason | None]]


class MappingParams(BaseModel):
    """Parameters of a kind: closed, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a kind finds what it needs, as SQL: the raw value, its unit's column (if any), its reason for being missing
    (if stored), the table (v, into, reason) of its lookup, and the column of its site (if the kind asks for one)."""

    raw: str
    unit: str | None = None
    reason: str | None = None
    lookup: str = ""
    site: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What the rows must be asked: `value` is what would be listed, of the rows that meet `unmapped`."""

    what: Literal["value", "unit", "code"]
    value: str
    unmapped: str


P = TypeVar("P", bound=MappingParams)


class Kind(ABC, Generic[P]):
    """One way to map a column. The parameters handed in are validated ones."""

    name: ClassVar[str]
    Params: type[P]
    needs_source: ClassVar[bool] = True

    @abstractmethod
    def findings(self, source: Column | None, target: Column, params: P) -> Iterator[tuple[str, str]]:
        """(code, detail) of everything by which the two columns cannot be mapped so."""

    @abstractmethod
    def sql(self, at: Places, source: Column | None, target: Column, params: P) -> str:
        """The united value, of the united column's type; NULL where it is missing."""

    def reason(self, at: Places, params: P) -> str:
        """Why the united value is missing, where it is known: one of the dictionary's reasons, else NULL."""
        return at.reason or "NULL"

    def reasons(self, params: P) -> set[str]:
        """The reasons for being missing that the mapping itself gives."""
        return {reason for _into, reason in self.lookup(params).values() if reason is not None}

    def lookup(self, params: P) -> Lookup:
        """The values that are looked up; empty: none."""
        return {}

    def question(self, at: Places, source: Column | None, target: Column, params: P) -> Question | None:
        """What must be asked of the rows; None: whatever they hold is mapped."""
        return None


def typed(expression: str, target: Column) -> str:
    """The expression as the united column is stored."""
    return f"CAST({expression} AS {STORED[target.type][0]})"


def looked_up(at: Places, field: str) -> str:
    """The entry of the lookup for the raw value, NULL where there is none."""
    return f"(SELECT {field} FROM {at.lookup} l WHERE l.v = CAST({at.raw} AS VARCHAR))"


def not_listed(at: Places) -> str:
    """The condition that a value is there and the lookup does not know it."""
    known = f"(SELECT v FROM {at.lookup})"
    return f"{at.raw} IS NOT NULL AND CAST({at.raw} AS VARCHAR) NOT IN {known}"


def fits(value: str, target: Column) -> bool:
    """Whether a text of the mapping can be stored in the united column."""
    if target.type in ("integer", "number"):
        try:
            number = float(value)
        except ValueError:
            return False
        return target.type == "number" or number.is_integer()
    return target.type == "string" or (target.type == "boolean" and value in ("true", "false"))
