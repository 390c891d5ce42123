"""Mappings: one file per way a column of a source becomes a column of the united table, found by folder; pure."""

import importlib
import pkgutil
from functools import cache
from typing import Any

from app.deid.mappings.contract import Kind, Lookup, MappingParams, Places, Question

__all__ = ["Kind", "Lookup", "MappingParams", "Places", "Question", "kinds"]


@cache
def kinds() -> dict[str, Kind[Any]]:
    """Every kind of mapping by name: a module of this folder with `KIND`; the file bears its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.KIND.name: module.KIND for module in modules if hasattr(module, "KIND")}
