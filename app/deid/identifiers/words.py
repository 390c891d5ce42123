"""Word lists that patterns are built from: surnames, syllables, regions, street suffixes; data beside this file."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def words(name: str) -> dict[str, Any]:
    """A word list by file name; each says where it is from."""
    text = (files(__package__) / "data" / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def any_of(texts: list[str]) -> str:
    """A pattern for one of some plain words, longest first."""
    return "(?:" + "|".join(sorted(texts, key=lambda text: (-len(text), text))) + ")"
