"""The life of a departure, in one table: whoever declares it never confirms it."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "declared": {"confirm": "confirmed", "call_off": "called_off"},
    # Until its day it can be called off still.
    "confirmed": {"carry_out": "carried_out", "call_off": "called_off"},
    "carried_out": {},
    "called_off": {},
}
OPEN = ("declared", "confirmed")


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        words = f"A departure that is {state.replace('_', ' ')} cannot be changed by `{verb}`."
        raise Problem("conflict", words, extra={"state": state})
    return after
