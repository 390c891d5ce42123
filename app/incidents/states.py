"""The life of an incident, in one table; what is frozen may be added to or thawed in part while it lasts."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "reported": {"contain": "contained", "dismiss": "dismissed"},
    "contained": {"contain": "contained", "thaw": "contained", "assess": "assessed", "dismiss": "dismissed"},
    "assessed": {
        "contain": "assessed", "thaw": "assessed", "assess": "assessed", "tell": "assessed", "notify": "notified",
        "dismiss": "dismissed",
    },
    "notified": {"contain": "notified", "thaw": "notified", "notify": "notified", "recover": "recovered"},
    "recovered": {"contain": "contained", "close": "closed"},
    "closed": {},
    "dismissed": {},
}  # fmt: skip
LIVE = tuple(state for state, verbs in TRANSITIONS.items() if verbs)


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"An incident that is {state} cannot {verb}.", extra={"state": state})
    return after
