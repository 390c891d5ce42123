"""The life of an extract, in one table."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "requested": {"queue": "queued"},
    "queued": {"build": "building", "fail": "failed", "cancel": "failed"},
    "building": {"build": "building", "publish": "ready", "fail": "failed", "cancel": "failed"},
    "ready": {"reissue": "ready", "publish": "ready", "expire": "expired"},
    "failed": {"queue": "queued"},
    "expired": {"destroy": "destroyed"},
    "destroyed": {},
}


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"An extract that is {state} cannot {verb}.")
    return after
