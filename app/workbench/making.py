"""Made-up tables from a dictionary, as files: what an analyst will get, without a row of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.deid import dummy, plan
from app.deid.roles import check_dictionary
from app.errors import Problem
from app.schemas.plan import Privacy
from app.workbench.preparing import Say, read_json


def make(
    dictionary: Path, privacy: Path | None, out: Path, people: int, seed: int, say: Say
) -> dict[str, Any]:
    """Write `<table>.parquet` of every table of people that may leave to `out`."""
    known = check_dictionary(read_json(dictionary))
    try:
        limits = Privacy.model_validate(read_json(privacy)) if privacy else Privacy()
    except ValidationError as error:
        raise Problem(
            "invalid_request", "The privacy settings do not have the shape they must have."
        ) from error
    drafted = plan.draft(known, None, (), limits, "dummy")
    say("making up rows")
    out.mkdir(parents=True, exist_ok=True)
    tables = dummy.dummy(known, drafted, people, seed)
    paths = dummy.write(tables, out)
    return {
        "files": [str(path) for path in paths], "rows": {name: table.num_rows for name, table in tables.items()},
        "made_up": True,
    }  # fmt: skip
