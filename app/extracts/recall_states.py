"""The life of a recall, in one table: what its holder says of the rows, and what time makes of it."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "open": {"destroyed": "destroyed", "retained": "retained", "frozen": "frozen"},
    # At its date a frozen one comes due again.
    "frozen": {"thaw": "open", "destroyed": "destroyed", "retained": "retained", "frozen": "frozen"},
    "retained": {"destroyed": "destroyed"},
    "destroyed": {},
}


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"A recall that is {state} cannot become {verb}.")
    return after
