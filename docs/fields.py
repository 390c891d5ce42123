"""Models in words: what a field is, its default, its limits, as cells of a table."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from app.schemas import dictionary as dictionaries
from docs.words import LEAVES, PROPERTIES

_TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "yes or no", "Path": "folder"}


def sentences(text: str | None) -> str:
    """A docstring as one line."""
    return " ".join(inspect.cleandoc(text or "").split())


def kind_of(annotation: Any) -> str:
    """What a value is, in words."""
    if annotation is type(None):
        return "nothing"
    if args := get_args(annotation):
        if all(isinstance(arg, str) for arg in args):
            return ", ".join(f"`{_plain(arg)}`" for arg in args)
        name = getattr(annotation, "__name__", "")
        if annotation == dictionaries.Dictionary.model_fields["hierarchies"].annotation:
            return "name -> hierarchy"
        if len(args) > 5:
            return "one of the roles below"
        if name in ("dict", "tuple", "list"):
            inner = [kind_of(arg) for arg in args if arg is not Ellipsis]
            return f"{' -> '.join(inner)}" if name == "dict" else f"list of {inner[0]}"
        if hasattr(annotation, "__metadata__"):
            return kind_of(args[0])
        return " or ".join(dict.fromkeys(kind_of(arg) for arg in args if arg is not type(None)))
    if annotation is dictionaries.Title:
        return "`{ko, en}`"
    name = getattr(annotation, "__name__", str(annotation))
    return {"Any": "anything", "SecretStr": "text (secret)", **_TYPES}.get(name, name)


def _plain(text: str) -> str:
    return text.encode("unicode_escape").decode()


def default(info: Any) -> str:
    """What holds where nothing is said."""
    if info.default_factory is not None:
        return "empty"
    if info.default is PydanticUndefined:
        return "required"
    if info.default is None:
        return "unset"
    if isinstance(info.default, BaseModel) or info.default in ("", ()):
        return "empty"
    if isinstance(info.default, int) and not isinstance(info.default, bool) and info.default >= 2**20:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
            if info.default % size == 0:
                return f"{info.default} ({info.default // size} {unit})"
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"


def needed(info: Any) -> str:
    """Whether a property must be given."""
    found = default(info)
    return found if found in ("required", "unset") else f"default {found}"


def bounds(info: Any, before: str = "") -> str:
    """The limits of a value, after `before`; empty where there is none."""
    said, metadata = [], list(info.metadata)
    for one in [info.annotation, *get_args(info.annotation)]:
        for inner in getattr(one, "__metadata__", ()):
            metadata += getattr(inner, "metadata", [inner])
    for name, words in (
        ("ge", "at least"),
        ("gt", "above"),
        ("le", "at most"),
        ("lt", "below"),
        ("min_length", "length at least"),
    ):
        said += [f"{words} {getattr(m, name)}" for m in metadata if getattr(m, name, None) is not None]
    return before + ", ".join(dict.fromkeys(said)) if said else ""


def properties(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Name, type, default and meaning of each property of a model."""
    for name, f in model.model_fields.items():
        yield f"`{name}`", kind_of(f.annotation), default(f), _meaning(model, name)


def _meaning(model: type[BaseModel], name: str) -> str:
    info = model.model_fields[name]
    said = info.description or PROPERTIES[f"{model.__name__}.{name}"]
    return "; ".join(filter(None, (said.rstrip("."), bounds(info))))


def role(model: type[BaseModel]) -> tuple[str, str, str]:
    """One role: its kind, how a column of it leaves, its properties."""
    kind = get_args(model.model_fields["kind"].annotation)[0]
    more = []
    for name, info in model.model_fields.items():
        if name != "kind":
            words = _meaning(model, name)
            more.append(
                f"`{name}`: {kind_of(info.annotation)}, {needed(info)}" + (f" ({words})" if words else "")
            )
    return f"`{kind}`", LEAVES[kind], "<br>".join(more)


def hierarchy(name: str, module: Any) -> tuple[str, str, str]:
    """One kind of hierarchy, by its name and its module."""
    return f"`{name}`", sentences(module.__doc__), sentences(module.climb.__doc__)
