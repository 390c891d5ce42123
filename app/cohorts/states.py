"""The life of a dataset version, in one table: whoever makes a version never publishes it."""

from __future__ import annotations

from app.errors import Problem

# `end`: its institution leaves.
TRANSITIONS: dict[str, dict[str, str]] = {
    "draft": {"edit": "draft", "submit": "validating", "end": "withdrawn"},
    # The checking job runs at least once: it may find its own outcome already written, and then does nothing.
    "validating": {
        "accept": "ready", "quarantine": "quarantined", "end": "withdrawn",
        "take_back": "draft",  # where its check was given up
    },
    "quarantined": {"edit": "quarantined", "submit": "validating", "end": "withdrawn"},
    "ready": {"submit": "in_review", "reopen": "draft", "end": "withdrawn"},
    "in_review": {"publish": "published", "return": "draft", "end": "withdrawn"},
    "published": {"supersede": "superseded", "withdraw": "withdrawn", "end": "withdrawn"},
    "superseded": {"withdraw": "withdrawn", "end": "withdrawn"},
    "withdrawn": {},
}  # fmt: skip


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"A dataset version that is {state} cannot {verb}.", extra={"state": state})
    return after
