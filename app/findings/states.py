"""The life of a finding, in one table; and how much of it whoever reported it may see."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "reported": {"accept": "accepted", "decline": "declined"},
    "accepted": {"forward": "forwarded", "end": "ended"},
    "forwarded": {"deliver": "delivered", "inform": "informed"},
    "delivered": {"inform": "informed"},
    "declined": {},
    "ended": {},
    "informed": {},
}
OVER = frozenset(state for state, verbs in TRANSITIONS.items() if not verbs)
RETURNED = ("forwarded", "delivered", "informed")  # what the institution sees


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"A finding that is {state} cannot {verb}.", extra={"state": state})
    return after


def told(state: str) -> str:
    """The state as whoever reported it is told. After the steward's word it says no more: whether it went on depends on
    whether the person is still in the data and agreed to be contacted, and that is not the researcher's to know."""
    return state if state in ("reported", "declined") else "accepted"
