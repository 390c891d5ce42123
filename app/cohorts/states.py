"""The life of a dataset version, in one table: whoever makes a version never publishes it."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "draft": {"edit": "draft", "submit": "validating"},
    # The checking job runs at least once: it may find its own outcome already written, and then does nothing.
    "validating": {"accept": "ready", "quarantine": "quarantined"},
    "quarantined": {"edit": "quarantined", "submit": "validating"},
    "ready": {"submit": "in_review", "reopen": "draft"},
    "in_review": {"publish": "published", "return": "draft"},
    "published": {"supersede": "superseded", "withdraw": "withdrawn"},
    "superseded": {"withdraw": "withdrawn"},
    "withdrawn": {},
}


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"A dataset version that is {state} cannot {verb}.", extra={"state": state})
    return after
