"""Engines run a plan over the vault: one file per engine behind one small protocol, found by its name."""

from __future__ import annotations

import importlib

from app.engines.protocol import (
    Classes,
    Engine,
    Groups,
    Kept,
    Limits,
    Member,
    NotLocal,
    Run,
    Source,
    StagedPart,
    Unmapped,
)
from app.storage.vault import Vault

__all__ = [
    "Classes",
    "Engine",
    "Groups",
    "Kept",
    "Limits",
    "Member",
    "NotLocal",
    "Run",
    "Source",
    "StagedPart",
    "Unmapped",
    "engine",
]


def engine(name: str, limits: Limits, vault: Vault) -> Engine:
    """The engine of that name: the module `app.engines.<name>` with its `ENGINE` class."""
    module = importlib.import_module(f"{__name__}.{name}")
    made: Engine = module.ENGINE(limits, vault)
    return made
