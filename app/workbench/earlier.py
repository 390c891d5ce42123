"""What an earlier dictionary says of the columns of a file, for a draft that leaves it as it is."""

from __future__ import annotations

from typing import Any

from app.schemas.dictionary import Dictionary


def kept(known: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The columns of an earlier dictionary's participant table, each with its hierarchy."""
    if known is None:
        return {}
    words = Dictionary.model_validate(known)
    found = {}
    for column in words.people.fields:
        name = getattr(column.role, "hierarchy", None) or getattr(column.role, "roll_up", None)
        document = column.model_dump(mode="json", exclude_defaults=True)
        document["role"] = column.role.model_dump(mode="json", exclude_defaults=True) | {
            "kind": column.role.kind
        }
        found[column.name] = {
            "column": document,
            "hierarchy": words.hierarchies.get(name or ""),
            "name": name,
        }
    return found
