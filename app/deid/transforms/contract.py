"""What every transform promises: parameters, the roles and types it may serve, its type when released, its SQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from app.deid.transforms.rendering import Rendering
from app.schemas.dictionary import Column, FieldType

MISSING_SUFFIX = "__missing"
"""The name of a column's reason column is the column's name and this."""

ROLES = frozenset(
    {
        "participant_id", "record_id", "direct_identifier", "quasi_identifier", "site", "sensitive", "date",
        "code", "number", "free_text", "attribute", "handle", "family_id", "provider_id", "linkage_token",
    }
)  # fmt: skip
TYPES: frozenset[FieldType] = frozenset({"string", "integer", "number", "boolean", "date", "datetime"})
NUMBERS: frozenset[FieldType] = frozenset({"integer", "number"})

# Field type -> (SQL type of DuckDB and Spark, Arrow type).
STORED: dict[FieldType, tuple[str, str]] = {
    "string": ("VARCHAR", "string"),
    "integer": ("BIGINT", "int64"),
    "number": ("DOUBLE", "double"),
    "boolean": ("BOOLEAN", "bool"),
    "date": ("DATE", "date32[day]"),
    "datetime": ("TIMESTAMP", "timestamp[us]"),
}


class Params(BaseModel):
    """Parameters of a transform: closed, frozen, nothing coerced but whole numbers to fractions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class ReleasedType:
    """How a column leaves. `sensitive_to_identity`: the same value leaves differently for another project or person."""

    sql: str
    arrow: str
    ko: str
    en: str
    sensitive_to_identity: bool = False


def stored_as(kind: FieldType, ko: str, en: str, *, sensitive_to_identity: bool = False) -> ReleasedType:
    """A released type that is one of the dictionary's own types."""
    sql, arrow = STORED[kind]
    return ReleasedType(sql, arrow, ko, en, sensitive_to_identity)


P = TypeVar("P", bound=Params)


class Transform(ABC, Generic[P]):
    """One way a column may leave. The parameters handed in are validated ones."""

    name: ClassVar[str]
    Params: type[P]
    roles: ClassVar[frozenset[str]]
    types: ClassVar[frozenset[FieldType]] = TYPES

    @abstractmethod
    def released(self, column: Column, params: P) -> ReleasedType:
        """The type and the one-line description of the released column."""

    @abstractmethod
    def sql(self, expression: str, column: Column, params: P, r: Rendering) -> str | None:
        """The released value of the SQL `expression`, of the type `released` says; None: it does not leave."""

    def fits(self, column: Column, params: P) -> str | None:
        """What is wrong with these parameters for this very column, in words; None: nothing."""
        return None


def exact(number: float) -> Fraction:
    """The number as it is written: 0.1 is one tenth."""
    return Fraction(Decimal(str(number)))


def plain(number: float) -> str:
    """The number as people write it: no exponent, no `.0`."""
    text = f"{Decimal(str(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
