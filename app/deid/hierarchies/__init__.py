"""Generalisation hierarchies: one file per kind, found by folder; labels depend on the spec only."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import pyarrow as pa

from app.deid.hierarchies import ancestors
from app.deid.hierarchies.fitted import MISSING, ROOT, Climb, Fitted, HierarchyError, assemble, is_missing
from app.deid.hierarchies.table import parse_arx

__all__ = [
    "MISSING",
    "ROOT",
    "Climb",
    "Fitted",
    "HierarchyError",
    "default_spec",
    "fit",
    "height",
    "kinds",
    "overview",
    "parse_arx",
    "preview",
    "references",
    "resolve",
]


@cache
def kinds() -> dict[str, ModuleType]:
    """Every kind by name: a module of this folder with `KIND`, `DEFAULTS` and `climb(spec, values)`."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.KIND: module for module in modules if hasattr(module, "KIND")}


def fit(spec: Mapping[str, Any], values: Sequence[object], name: str = "") -> Fitted:
    """Lay a hierarchy over distinct raw values (None is missing); `name` is the column's.

    Raises HierarchyError with every problem at once: unknown kind, bad parameters, values not covered, levels
    that do not nest, no values. Its texts give counts and positions, never a value.
    """
    module = kinds().get(str(spec.get("kind")))
    if module is None:
        raise HierarchyError([("unknown_kind", f"the kind is not one of {', '.join(kinds())}")])
    if len(values) == 0:
        raise HierarchyError([("empty", "there are no values to fit")])
    climb: Climb = module.climb(spec, [value for value in values if not is_missing(value)])
    return assemble(name or str(spec.get("name", "")), values, climb)


def default_spec(
    column_type: str, values: Sequence[object] | None = None, vocabulary: str | None = None
) -> dict[str, Any]:
    """A spec for a column type: integer, number, date or string, good enough to start editing from.

    `values` (optional) set the bounds of numbers: written down once, the spec no longer follows the data.
    A `vocabulary` that a kind knows (KCD, ICD-10, regions) decides before the type. Raises HierarchyError on another
    type.
    """
    word = (vocabulary or "").lower()
    for module in kinds().values():
        if word and any(word == known or word.startswith(known + "-") for known in _known(module)):
            named: dict[str, Any] = module.default(vocabulary)
            return named
    for module in kinds().values():
        if column_type in module.DEFAULTS:
            spec: dict[str, Any] = module.default(column_type, values or [])
            return spec
    raise HierarchyError([("unknown_type", "the type is not one of integer, number, date, string")])


def height(spec: Mapping[str, Any]) -> int:
    """The highest level of a hierarchy, where everything has one label; levels run from 0. Raises HierarchyError."""
    return fit(spec, [None]).height


def _known(module: ModuleType) -> tuple[str, ...]:
    return tuple(getattr(module, "VOCABULARIES", ()))


def overview(spec: Mapping[str, Any], values: Sequence[object]) -> list[dict[str, Any]]:
    """Per level of the hierarchy, what a steward chooses by: how many labels, and each with its distinct values.

    [{"level": 1, "labels": 3, "classes": [{"label": "E10-E14", "values": 12}, ...]}, ...], the largest label first.
    Raises HierarchyError as `fit` does.
    """
    fitted = fit(spec, list(dict.fromkeys(values)))
    told = []
    for level, labels in enumerate(fitted.labels):
        counts = Counter(labels[node] for node in fitted.nodes[:, level])
        classes = [{"label": t, "values": n} for t, n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))]
        told.append({"level": level, "labels": len(classes), "classes": classes})
    return told


def references(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Of the hierarchies that are read from a reference table: table -> its columns that are read."""
    found: dict[str, tuple[str, ...]] = {}
    for spec in specs.values():
        if spec.get("kind") == ancestors.KIND and "parents" not in spec:
            names = tuple(name for name in ancestors.columns_of(spec) if name)
            found[str(spec["table"])] = tuple(dict.fromkeys((*found.get(str(spec["table"]), ()), *names)))
    return found


def resolve(specs: Mapping[str, dict[str, Any]], tables: Mapping[str, pa.Table]) -> dict[str, dict[str, Any]]:
    """The hierarchies with what the reference tables say written into them. Raises HierarchyError."""
    return {
        name: ancestors.resolve(spec, tables[str(spec["table"])])
        if spec.get("kind") == ancestors.KIND and "parents" not in spec
        else spec
        for name, spec in specs.items()
    }


def preview(spec: Mapping[str, Any], level: int, values: Sequence[object]) -> list[str]:
    """The label of each value at a level, in the given order. Raises HierarchyError as `fit` does."""
    distinct = list(dict.fromkeys(values))
    fitted = fit(spec, distinct)
    if not 0 <= level <= fitted.height:
        raise HierarchyError([("no_such_level", f"levels run from 0 to {fitted.height}")])
    place = {value: i for i, value in enumerate(distinct)}
    return [fitted.labels[level][fitted.nodes[place[value], level]] for value in values]
