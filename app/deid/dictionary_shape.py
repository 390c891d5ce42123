"""What is wrong with the shape of a dictionary: a JSON pointer and a reason in our words, never what was given."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from app.errors import Finding
from app.schemas import dictionary as shapes

ROLES: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(shapes.Role)[0])
}
_PARTS: dict[str, type[BaseModel]] = {
    "tables": shapes.Table, "fields": shapes.Column, "foreign_keys": shapes.ForeignKey,
    "title": shapes.Title, "labels": shapes.Title,
}  # fmt: skip
_EMPTY = "must not be empty"
# The library's error types in our words; its messages hold the value that was given, so they are never passed on.
_WORDS: dict[str, tuple[str, str]] = {
    "missing": ("missing_property", "a property that is required is not there"),
    "string_type": ("wrong_shape", "must be text"),
    "string_pattern_mismatch": (
        "bad_name",
        "holds characters that a name may not have, or is empty or too long",
    ),
    "int_type": ("wrong_shape", "must be a whole number"),
    "int_parsing": ("wrong_shape", "must be a whole number"),
    "int_from_float": ("wrong_shape", "must be a whole number"),
    "float_type": ("wrong_shape", "must be a number"),
    "float_parsing": ("wrong_shape", "must be a number"),
    "bool_type": ("wrong_shape", "must be true or false"),
    "bool_parsing": ("wrong_shape", "must be true or false"),
    "dict_type": ("wrong_shape", "must be a JSON object"),
    "model_attributes_type": (
        "wrong_shape",
        'must be a JSON object, such as {"kind": "attribute"} for a role',
    ),
    "model_type": ("wrong_shape", "must be a JSON object"),
    "tuple_type": ("wrong_shape", "must be a JSON array"),
    "too_short": ("wrong_shape", _EMPTY),
    "union_tag_not_found": ("unknown_role", "a role is an object with `kind`"),
}
_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")


def near(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """At most three names of the dictionary itself that look like `name`, compared without case.

    Compared by letters: a syllable of Hangul is two or three of them, so that one wrong letter is a near match."""
    by_letters = {_letters(candidate): candidate for candidate in known}
    return tuple(
        by_letters[match] for match in get_close_matches(_letters(name), by_letters, n=3, cutoff=0.7)
    )


def _letters(name: str) -> str:
    return unicodedata.normalize("NFD", name.casefold())


def pointer(*steps: object) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def shape_findings(document: object, error: ValidationError) -> list[Finding]:
    """Every finding of a dictionary that does not have the shape of `schemas.dictionary`."""
    details = error.errors(include_url=False, include_input=False)
    found = [_finding(document, [*one["loc"]], one["type"], one.get("ctx") or {}) for one in details]
    # The library counts only what it could read, so a list whose every element is wrong is also "too short".
    inside = [one.pointer or "" for one in found]
    return [
        one for one in found
        if one.detail != _EMPTY or not any(other.startswith(f"{one.pointer}/") for other in inside)
    ]  # fmt: skip


def _finding(document: object, loc: list[Any], kind: str, context: Mapping[str, Any]) -> Finding:
    steps = [step for i, step in enumerate(loc) if not (i and loc[i - 1] == "role" and step in ROLES)]
    table, column = _named(document, steps)
    where: dict[str, Any] = {"table": table, "column": column, "pointer": pointer(*steps)}
    if kind == "extra_forbidden":
        known = _model(loc[:-1]).model_fields
        return Finding(
            "unknown_property", "is not a property of a dictionary", near=near(str(loc[-1]), known), **where
        )
    if kind == "union_tag_invalid":
        where["pointer"] = pointer(*steps, "kind")
        guesses = near(str(context.get("tag", "")), ROLES)
        return Finding(
            "unknown_role", "there is no such role", near=guesses, hint="one of " + ", ".join(ROLES), **where
        )
    if kind == "literal_error":
        return Finding("unknown_word", f"must be one of {context.get('expected', '')}", **where)
    if kind in _RANGE:
        limits = ", ".join(
            f"{name} {limit}" for name, limit in context.items() if name in ("gt", "ge", "lt", "le")
        )
        return Finding("out_of_range", f"must be a number within its limits ({limits})", **where)
    code, detail = _WORDS.get(kind, ("wrong_shape", "does not have the shape that belongs here"))
    return Finding(code, detail, **where)


def _model(loc: list[Any]) -> type[BaseModel]:
    """The model that an object at this place is read by."""
    for i in range(len(loc) - 1, -1, -1):
        if loc[i] == "role" and i + 1 < len(loc) and loc[i + 1] in ROLES:
            return ROLES[loc[i + 1]]
        if loc[i] in _PARTS:
            return _PARTS[loc[i]]
    return shapes.Dictionary


def _named(document: object, steps: list[Any]) -> tuple[str | None, str | None]:
    """The names of the table and the column on the way to this place, where they can be read."""
    names: dict[str, str] = {}
    here: Any = document
    for i, step in enumerate(steps):
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            break
        if i and steps[i - 1] in ("tables", "fields") and isinstance(here, Mapping):
            name = here.get("name")
            if isinstance(name, str):
                names[steps[i - 1]] = name[:128]
    return names.get("tables"), names.get("fields")
