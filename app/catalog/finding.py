"""Find variables across cohorts: by name, label, code or concept, with the versions that have them and masked fill."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from app.catalog import variable_queries
from app.catalog.folded import fold, words_of
from app.catalog.variable_queries import People
from app.db import Database
from app.deid.counts import mask_plain
from app.models import DatasetVersion
from app.settings import Settings

FIELDS = ("name", "label", "code", "concept")


@dataclass(frozen=True)
class VariableService:
    """What may be told of variables, to anyone who may see the catalogue."""

    db: Database
    settings: Settings

    def search(
        self, query: str, after: str | None, limit: int, fields: Collection[str] = (), *, begins: bool = False,
        key: str | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Variables in which every word of the query occurs, or begins a word, in one of the fields (none: all four).

        By key, so that what is the same in several cohorts stands together; `key` asks for one of them alone.
        """
        with self.db.read() as session:
            rows = variable_queries.found(
                session, words_of(query), fields or FIELDS, begins=begins,
                key=None if key is None else fold(key), after=after, limit=limit,
            )  # fmt: skip
            versions = variable_queries.versions_of(session, [row.id for row in rows])
            held = variable_queries.datasets(
                session, {row.dataset_id: versions[row.id][-1][0].id for row in rows}
            )
        return [
            {
                "id": row.id, "key": row.key, "name": row.name, "table": row.table_name, **row.about,
                "dataset_id": row.dataset_id, "dataset": _names(held[row.dataset_id][0]),
                "held_by": [
                    {"cohort_id": cohort.id, "cohort": _names(cohort), "institution": _names(institution)}
                    for cohort, institution in held[row.dataset_id][1]
                ],
                "versions": [self._version(*one) for one in versions[row.id]],
            }
            for row in rows
        ]  # fmt: skip

    def _version(self, version: DatasetVersion, counted: People) -> dict[str, Any]:
        people, share = shown(*counted, self.settings.min_cell, self.settings.round_to)
        return {
            "id": version.id, "number": version.number, "state": version.state,
            "published_at": version.published_at, "people": people, "filled": share,
        }  # fmt: skip


def shown(people: int | None, filled: int | None, least: int, unit: int) -> tuple[int | None, float | None]:
    """The people of the table and the share of them with a value, as both may be told; None: not counted, or hidden.

    The share is of the rounded numbers, so that it tells no more than they do. Hidden where fewer than `least` people
    have a value, or have none: either is told by the other.
    """
    if people is None or filled is None:
        return None, None
    whole = mask_plain(people, least, unit).value
    have, lack = mask_plain(filled, least, unit).value, mask_plain(people - filled, least, unit).value
    if not whole or have is None or lack is None:
        return whole, None
    return whole, 1.0 if filled == people else round(have / whole, 2)


def _names(row: Any) -> dict[str, str]:
    return {"ko": row.name_ko, "en": row.name}
