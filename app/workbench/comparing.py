"""`deid changes`: what the next dictionary changes, before anybody uploads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.deid.dictionary_changes import BREAKING, changes
from app.deid.roles import check_dictionary
from app.workbench.preparing import read_json


def compare(old: Path, new: Path) -> dict[str, Any]:
    """`changes`, as a version's report has them, and how many are `breaking`; a Problem where one is no dictionary."""
    before, after = (check_dictionary(read_json(path)) for path in (old, new))
    found = changes(before, after)
    return {
        "changes": [one.to_dict() for one in found],
        "breaking": sum(one.kind == BREAKING for one in found),
    }
