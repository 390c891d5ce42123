"""When vocabularies came into use, as data with their source: a first use just after that day would tell a shift."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from app.deid.window import TAIL
from app.schemas.dictionary import Code, Column


class Start(BaseModel):
    """The first day of a vocabulary; `version` None: of all its versions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocabulary: str
    version: str | None
    day: date
    source: str = Field(min_length=1)


class _Starts(BaseModel):
    starts: tuple[Start, ...]


@cache
def starts() -> tuple[Start, ...]:
    """Every start that is known."""
    return _Starts.model_validate_json(
        Path(__file__).with_name("vocabularies.json").read_text("utf-8")
    ).starts


def start_of(column: Column) -> date | None:
    """The first day on which a column's codes were in use: the dictionary's word, else what is known of the version."""
    role = column.role
    if not isinstance(role, Code):
        return None
    for one in starts() if role.started is None else ():
        if _plain(one.vocabulary) == _plain(role.vocabulary) and one.version in (None, role.version):
            return one.day
    return role.started


def begins_then(before: int, total: int, least: int) -> bool:
    """Whether codes begin to be used on their first day: of `total` person-days with a code only a thin tail, as an
    observation may have (`window.observed`), lies `before` it. Codes mapped back to earlier days have no such edge."""
    return total > 0 and before < max(least, TAIL * total)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
