"""The life of an alarm, in one table: who runs into it acknowledges it, a steward closes it, or its cause goes away."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "open": {"acknowledge": "acknowledged", "resolve": "closed"},
    "acknowledged": {"close": "closed", "resolve": "closed"},
    "closed": {},
}
LIVE = tuple(state for state, verbs in TRANSITIONS.items() if verbs)


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"An alarm that is {state} cannot {verb}.", extra={"state": state})
    return after
