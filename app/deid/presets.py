"""Presets of limits, as data with their source; none claims an authority's approval."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.deid.counts import CountRule
from app.schemas.dictionary import Title


class _Preset(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Title
    source: str = Field(min_length=1)
    claim: str = Field(min_length=1)


class RowPreset(_Preset):
    """Limits of extracts: the least k, and the ways a person's dates may leave (None: any)."""

    k: int = Field(ge=2)
    date_modes: tuple[Literal["year", "month", "shift", "relative_day"], ...] | None
    left_to_people: tuple[str, ...]


class CountPreset(_Preset):
    """Limits of counts. These presets release no rows."""

    min_cell: int = Field(ge=2)
    round_to: int = Field(ge=1)
    allow_zero: bool

    @property
    def rule(self) -> CountRule:
        """What `counts.masked` takes."""
        return CountRule(self.min_cell, self.round_to, self.allow_zero)


class Presets(BaseModel):
    """All presets by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: dict[str, RowPreset]
    counts: dict[str, CountPreset]


@cache
def presets() -> Presets:
    """The presets of `presets.json`, which stands beside this file."""
    return Presets.model_validate_json(Path(__file__).with_suffix(".json").read_text("utf-8"))
