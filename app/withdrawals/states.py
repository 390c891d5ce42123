"""The life of a withdrawal, in one table."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "taken": {"block": "blocked", "close": "closed"},
    "blocked": {"block": "blocked", "close": "closed"},
    "closed": {"block": "closed", "close": "closed"},
}


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"A withdrawal that is {state} cannot {verb}.")
    return after
