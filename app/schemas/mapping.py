"""The mapping: how tables of several cohorts become one dictionary's tables. It is reviewed, versioned and digested.

Of every source it says which table becomes which, how each column is read, and what is left out and why. What it does
not say is refused; nothing is guessed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from app.schemas.dictionary import Model, Name

SOURCE = (
    "source"  # the column that Baekman adds to every united table of people: the name of the row's source
)
Why = Annotated[str, Field(min_length=3, max_length=400, pattern=r"^[^\x00-\x1f]*$")]
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class MappedColumn(Model):
    """One column of the united table: read from a column of the source by a kind of mapping
    (`deid/mappings/<by>.py`) with its parameters."""

    source: Name | None = Field(
        default=None, alias="from", description="The source's column; none: `by` is missing."
    )
    by: Annotated[str, Field(max_length=40)] = "same"
    params: dict[str, Any] = Field(default_factory=dict)


class MappedTable(Model):
    """One table of the united dictionary, as one source fills it; or why the source has no such rows."""

    source: str | None = Field(default=None, alias="from", description="The source's table.")
    absent: Why | None = Field(default=None, description="Why this source fills the table with nothing.")
    columns: dict[Name, MappedColumn] = Field(default_factory=dict)
    left_out: dict[Name, Why] = Field(
        default_factory=dict,
        description="Columns of the source's table that are not taken over, each with why.",
    )


class MappedSource(Model):
    """One published version of one cohort, under the name that its rows carry."""

    version_id: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
    name: SourceName
    title: dict[Literal["ko", "en"], str] = Field(default_factory=dict)
    tables: dict[str, MappedTable]
    left_out: dict[str, Why] = Field(
        default_factory=dict, description="Tables of the source that are not taken over, each with why."
    )


class Mapping(Model):
    """The united dictionary (without the column `source`, which comes by itself) and how each source fills it."""

    profile: Literal["baekman-mapping/1"] = "baekman-mapping/1"
    dictionary: dict[str, Any]
    sources: tuple[MappedSource, ...] = Field(min_length=1, max_length=50)

    @field_validator("sources")
    @classmethod
    def _each_has_a_name_of_its_own(cls, sources: tuple[MappedSource, ...]) -> tuple[MappedSource, ...]:
        # Whatever is kept by a source's name is thereby kept for one source: dictionaries, rows, whose values they are.
        if len({one.name for one in sources}) < len(sources):
            raise PydanticCustomError("source_twice", "each source has a name of its own")
        return sources
