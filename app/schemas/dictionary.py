"""The dictionary: Table Schema JSON with our properties; an unknown column, role or property is refused.

Source of the base format: Frictionless Table Schema / Data Package v1. Our properties: table `kind`, `domain`,
`participant`, `participant_via`, and on fields `role`, `missing`, `labels`, `unit`, `unit_column`, `vocabulary`.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[^\x00-\x1f\"'`;\\]{1,128}$"
Name = Annotated[str, Field(pattern=NAME)]
FieldType = Literal["string", "integer", "number", "boolean", "date", "datetime"]
Concept = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}:[A-Za-z0-9][A-Za-z0-9._/-]{0,79}$")]
MissingReason = Literal["not_asked", "refused", "below_detection", "unknown"]


class Model(BaseModel):
    """Strict base: unknown properties are refused, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Title(Model):
    """A title in Korean and English."""

    ko: str = ""
    en: str = ""


class ParticipantId(Model):
    kind: Literal["participant_id"]


class RecordId(Model):
    kind: Literal["record_id"]
    of: str | None = Field(
        default=None, description="Id space shared across tables, e.g. `visit`; default the column name."
    )
    drop: bool = False


class DirectIdentifier(Model):
    kind: Literal["direct_identifier"]


class QuasiIdentifier(Model):
    kind: Literal["quasi_identifier"]
    hierarchy: str | None = Field(
        default=None, description="Name of a hierarchy of this dictionary; default by type."
    )
    max_level: int | None = Field(
        default=None, ge=0, description="A class that needs a higher level is suppressed instead."
    )
    min_level: int = Field(default=0, ge=0, description="Never released finer than this level.")
    weight: float = Field(default=1.0, gt=0)


class Site(Model):
    """A place of care: a quasi-identifier."""

    kind: Literal["site"]
    hierarchy: str | None = None


class Sensitive(Model):
    kind: Literal["sensitive"]
    l: int | None = Field(default=None, ge=2)  # noqa: E741 - the field's own name for l-diversity
    t: float | None = Field(default=None, gt=0, lt=1)
    closed: tuple[str, ...] = Field(default=(), description="Values that must not be inferable; empty: all.")


class Date(Model):
    kind: Literal["date"]
    mode: Literal["year", "month", "shift", "relative_day"] = "shift"


class Code(Model):
    kind: Literal["code"]
    vocabulary: str
    version: str | None = None
    min_participants: int | None = Field(default=None, ge=1, description="Default: the plan's k.")
    roll_up: str | None = Field(default=None, description="Hierarchy to climb before a rare code is dropped.")
    started: date | None = Field(
        default=None,
        exclude_if=lambda day: day is None,
        description="First day on which any of its codes was in use, where it is not KCD or ICD-10-CM (a vaccine).",
    )


class Number(Model):
    kind: Literal["number"]
    round: float | None = Field(default=None, gt=0, description="Round to multiples of this.")
    bottom: float | None = None
    top: float | None = None


class FreeText(Model):
    kind: Literal["free_text"]


class Attribute(Model):
    kind: Literal["attribute"]


class Handle(Model):
    """A genome, image or specimen: an opaque reference, never the file."""

    kind: Literal["handle"]


class FamilyId(Model):
    kind: Literal["family_id"]


class ProviderId(Model):
    kind: Literal["provider_id"]


class LinkageToken(Model):
    kind: Literal["linkage_token"]


Role = Annotated[
    ParticipantId
    | RecordId
    | DirectIdentifier
    | QuasiIdentifier
    | Site
    | Sensitive
    | Date
    | Code
    | Number
    | FreeText
    | Attribute
    | Handle
    | FamilyId
    | ProviderId
    | LinkageToken,
    Field(discriminator="kind"),
]


class Column(Model):
    """One field of a table."""

    name: Name
    type: FieldType = "string"
    format: str | None = Field(
        default=None, description="strptime pattern of dates, e.g. %Y%m%d; default ISO 8601."
    )
    title: Title = Title()
    description: str = ""
    role: Role
    missing: dict[str, MissingReason] = Field(
        default_factory=dict, description="Code -> reason; split off before any use."
    )
    labels: dict[str, Title] = Field(
        default_factory=dict, description="Value -> label in Korean and English."
    )
    concepts: tuple[Concept, ...] = Field(
        default=(),
        exclude_if=lambda concepts: not concepts,
        max_length=20,
        description="What the column means in shared vocabularies, such as `LOINC:4548-4`; the first brings it "
        "together with the same of other cohorts.",
    )
    unit: str | None = Field(default=None, description="UCUM code.")
    unit_column: Name | None = None
    required: bool = False


class ForeignKey(Model):
    """`column` holds a value of `table`.`references`."""

    column: Name
    table: Name
    references: Name


class Table(Model):
    """One table. `participant` names the own participant columns (two or more on a `link` table)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
    kind: Literal["participant", "event", "link", "reference"]
    title: Title = Title()
    domain: Literal["clinical", "genomic", "lifelog", "public"] = "clinical"
    participant: tuple[Name, ...] = ()
    participant_via: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]{1,64}\.[^.]{1,128}$",
        description="`table.column`: the person of that row.",
    )
    via_column: Name | None = Field(
        default=None, description="Own column holding the value; default: same name as in `participant_via`."
    )
    max_unmatched: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Stated share of rows whose person is not in the participant table; default: a setting.",
    )
    max_rows_per_person: int | None = Field(
        default=None,
        ge=1,
        exclude_if=lambda cap: cap is None,
        description="Of an event table: at most so many rows of a person ever leave.",
    )
    primary_key: tuple[Name, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    format: Literal["csv", "parquet"] = "csv"
    encoding: Literal["utf-8", "cp949"] = "utf-8"
    delimiter: Literal[",", "\t", ";", "|"] = ","
    fields: tuple[Column, ...] = Field(min_length=1)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError where absent."""
        for column in self.fields:
            if column.name == name:
                return column
        raise KeyError(name)

    def of_role(self, *kinds: str) -> list[Column]:
        """The columns whose role is one of `kinds`, in order."""
        return [c for c in self.fields if c.role.kind in kinds]


class Dictionary(Model):
    """All tables of a dataset version, and the hierarchies they use."""

    profile: Literal["baekman-dictionary/1"] = "baekman-dictionary/1"
    title: Title = Title()
    description: str = ""
    hierarchies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tables: tuple[Table, ...] = Field(min_length=1)

    def table(self, name: str) -> Table:
        """The table of that name; KeyError where absent."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    @property
    def people(self) -> Table:
        """The participant table (checked to be exactly one)."""
        return next(t for t in self.tables if t.kind == "participant")
