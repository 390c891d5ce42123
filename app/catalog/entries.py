"""What the catalogue shows of a dataset: names, structure, labels; no example value, minimum or maximum; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.catalog.folded import fold, words_of
from app.deid.counts import mask_plain
from app.deid.dictionary_links import DROPPED
from app.schemas.dictionary import Column, Dictionary, Table, Title

# Roles whose labels would be labels of single people or free words.
UNLABELLED = DROPPED | {"participant_id", "record_id", "family_id", "provider_id", "handle"}


def is_found(query: str, texts: Iterator[str]) -> bool:
    """Whether every word of the query occurs in the texts, without regard to case or Unicode form."""
    words = words_of(query)
    if not words:
        return True
    text = fold("\n".join(texts))
    return all(word in text for word in words)


def texts_of(dictionary: Mapping[str, Any]) -> Iterator[str]:
    """Every word by which a dictionary can be found: titles, descriptions, tables, columns, units, labels."""
    parsed = Dictionary.model_validate(dictionary)
    yield from _titles(parsed.title)
    yield parsed.description
    for table in parsed.tables:
        yield from (table.name, *_titles(table.title))
        for column in table.fields:
            yield from (column.name, *_titles(column.title), column.description, column.unit or "")
            yield getattr(column.role, "vocabulary", "")
            if column.role.kind not in UNLABELLED:
                yield from (text for label in column.labels.values() for text in _titles(label))


def tables_of(
    dictionary: Mapping[str, Any], people: Mapping[str, int], least: int, unit: int
) -> list[dict[str, Any]]:
    """The tables of a version with masked numbers of people."""
    return [
        {
            "name": table.name,
            "kind": table.kind,
            "title": table.title.model_dump(),
            "domain": table.domain,
            "people": mask_plain(people.get(table.name, 0), least, unit).value,
            "columns": [_column(table, column) for column in table.fields],
        }
        for table in Dictionary.model_validate(dictionary).tables
    ]


def _column(table: Table, column: Column) -> dict[str, Any]:
    """One column. `bottom` and `top` of numbers, bounds of hierarchies and missing codes are left out: they are
    minima, maxima or values. `leaves` says whether it can be part of a plan at all."""
    labels = {} if column.role.kind in UNLABELLED else column.labels
    return {
        "name": column.name,
        "type": column.type,
        "title": column.title.model_dump(),
        "description": column.description,
        "role": column.role.kind,
        "leaves": column.role.kind not in DROPPED,
        "key": column.name in table.primary_key,
        "unit": column.unit,
        "vocabulary": getattr(column.role, "vocabulary", None),
        "labels": {value: label.model_dump() for value, label in labels.items()},
    }


def _titles(title: Title) -> tuple[str, str]:
    return title.ko, title.en
