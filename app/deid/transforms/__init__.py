"""Transforms: one file per way a column may leave, found by folder; SQL only, no data, the same on every engine."""

import importlib
import pkgutil
from functools import cache
from typing import Any

from app.deid.transforms.contract import MISSING_SUFFIX, Params, ReleasedType, Transform
from app.deid.transforms.rendering import Rendering

__all__ = ["MISSING_SUFFIX", "Params", "ReleasedType", "Rendering", "Transform", "transforms"]


@cache
def transforms() -> dict[str, Transform[Any]]:
    """Every transform by name: a module of this folder with `TRANSFORM`; the file bears the transform's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.TRANSFORM.name: module.TRANSFORM for module in modules if hasattr(module, "TRANSFORM")}
