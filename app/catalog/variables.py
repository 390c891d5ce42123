"""What a dictionary says of each variable: what is shown of it, and the words it is found by; pure.

Nothing is here that the catalogue would not show: no value but labelled ones, no minimum, no maximum, no missing code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.catalog.entries import UNLABELLED
from app.catalog.folded import fold, searchable
from app.deid.dictionary_links import DROPPED
from app.schemas.dictionary import Code, Column, Dictionary, Table
from app.schemas.plan import digest

MOST_LABELS = 50
"""Labels of a variable that are shown; it is found by all of them."""


@dataclass(frozen=True, slots=True)
class Said:
    """One variable; `digest` is of everything that is said, so that what is said alike in two versions is one row."""

    table: str
    name: str
    key: str
    by_name: str
    by_label: str
    by_code: str
    by_concept: str
    about: dict[str, Any]
    digest: str


def variables_of(dictionary: Mapping[str, Any]) -> Iterator[Said]:
    """The variables that can be asked for: columns whose values are never stored, and people's ids, are none."""
    for table in Dictionary.model_validate(dictionary).tables:
        for column in table.fields:
            if column.role.kind not in DROPPED and column.role.kind != "participant_id":
                yield _said(table, column)


def _said(table: Table, column: Column) -> Said:
    labels = {} if column.role.kind in UNLABELLED else column.labels
    concepts, vocabulary = column.concepts, _vocabulary(column)
    about = {
        "table_title": table.title.model_dump(),
        "domain": table.domain,
        "type": column.type,
        "title": column.title.model_dump(),
        "description": column.description,
        "role": column.role.kind,
        "unit": column.unit,
        "vocabulary": vocabulary,
        "concepts": list(concepts),
        "labels": {value: label.model_dump() for value, label in list(labels.items())[:MOST_LABELS]},
        "label_count": len(labels),
    }
    texts = {
        "by_name": searchable([column.name]),
        "by_label": searchable(
            [column.title.ko, column.title.en, column.description]
            + [text for label in labels.values() for text in (label.ko, label.en)]
        ),
        "by_code": searchable([*labels, *(one.partition(":")[2] for one in concepts)]),
        "by_concept": searchable([*concepts, *([vocabulary] if vocabulary else [])]),
    }
    key = fold(concepts[0] if concepts else column.name)
    return Said(table.name, column.name, key, about=about, digest=digest([about, texts]), **texts)


def _vocabulary(column: Column) -> str | None:
    """Such as `KCD-8`; None where the column holds no codes."""
    role = column.role
    if not isinstance(role, Code):
        return None
    return f"{role.vocabulary}-{role.version}" if role.version else role.vocabulary
