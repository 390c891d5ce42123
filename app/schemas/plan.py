"""The plan: the rules and limits of an extract, reviewed before and verified after. Its hash is what is approved."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from app.schemas.dictionary import Model, Name


class PlannedColumn(Model):
    """One column and the transform that it leaves by (`deid/transforms/<transform>.py`)."""

    name: Name
    transform: str
    params: dict[str, Any] = Field(default_factory=dict)


class PlannedTable(Model):
    """The columns of one table that leave, in the order they leave."""

    name: str
    columns: tuple[PlannedColumn, ...]
    # Left out where unset, so that the hash of a plan without a cap is what it was.
    max_rows_per_person: int | None = Field(
        default=None,
        ge=1,
        exclude_if=lambda cap: cap is None,
        description="Of an event table at most so many rows of a person leave.",
    )


class Condition(Model):
    """One condition of the row filter, on a column of the plan, at a level no finer than released.

    `level` is the hierarchy level of a quasi-identifier (its labels stand in `values`); 0 elsewhere.
    Conditions on the participant table select people; on an event table they select that table's rows.
    """

    table: str
    column: Name
    level: int = Field(default=0, ge=0)
    values: tuple[str, ...] = Field(default=(), description="Any of these released values.", max_length=1000)
    at_least: float | None = None
    at_most: float | None = None


class Privacy(Model):
    """The anonymity target and the limits of the outcome."""

    preset: str | None = None
    k: int = Field(default=11, ge=2)
    reserve: int = Field(default=2, ge=0)
    method: Literal["local", "global"] = "local"
    max_suppression: float = Field(
        default=0.1, ge=0, le=1, description="Share of the eligible people that may be left out."
    )
    min_cell: int = Field(default=11, ge=2)
    round_to: int = Field(default=5, ge=1)
    shift_weeks: int = Field(
        default=26,
        ge=1,
        le=520,
        description="Dates move by up to so many weeks either way; as many weeks are left out at both ends of a table.",
    )
    tolerance: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="How much worse than the dry run the outcome may be (share of people).",
    )


class Plan(Model):
    """Dataset version + tables + one transform per column + row filter + anonymity target and limits."""

    profile: Literal["baekman-plan/1"] = "baekman-plan/1"
    version_id: str
    tables: tuple[PlannedTable, ...] = Field(min_length=1)
    filter: tuple[Condition, ...] = ()
    privacy: Privacy = Privacy()
    linkage: bool = Field(
        default=False,
        description="People of several cohorts who are known to be the same have one pseudonym; the steward decides.",
    )

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A plan without linkage looks as it did before there was any, and so keeps the hash that was approved."""
        document: dict[str, Any] = serialised(self)
        return document if self.linkage else {k: v for k, v in document.items() if k != "linkage"}

    def table(self, name: str) -> PlannedTable:
        """The planned table of that name; KeyError where absent."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)


PlanHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, UTF-8, so that equal things have equal hashes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 lower-case hex characters."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def plan_hash(plan: Plan) -> str:
    """The hash a steward approves."""
    return digest(plan.model_dump(mode="json"))
