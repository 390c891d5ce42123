"""The legal clocks of an incident: each begins when it became known, and is answered or late; pure.

Where the hours come from: the Personal Information Protection Act, articles 28-5 (stop at once) and 34 with its decree
(72 hours to tell people and authority). They are settings, not advice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

NAMES = ("contain", "assess", "people", "authority")
TOLD = ("people", "authority")
"""Who has to be told, or not be told on a named ground."""


def clocks(
    known_at: datetime, answered: Mapping[str, datetime | None], hours: Mapping[str, int], until: datetime
) -> list[dict[str, Any]]:
    """Every clock with when it is due, when it was answered, and whether that was or is late. `until`: now, or when the
    incident ended. Zero hours: the clock does not run."""
    found = []
    for name in NAMES:
        if hours[name]:
            due, at = known_at + timedelta(hours=hours[name]), answered.get(name)
            found.append({"clock": name, "due_at": due, "answered_at": at, "late": (at or until) > due})
    return found


def answered(
    contained_at: datetime | None, assessed_at: datetime | None, notices: Sequence[Mapping[str, Any]]
) -> dict[str, datetime | None]:
    """When each clock was answered; a notice that is not given on a ground answers too, when that was decided."""
    told: dict[str, datetime | None] = {"contain": contained_at, "assess": assessed_at}
    for notice in notices:
        at = datetime.fromisoformat(notice["at"])
        earlier = told.get(notice["whom"])
        told[notice["whom"]] = at if earlier is None else min(earlier, at)
    return told
