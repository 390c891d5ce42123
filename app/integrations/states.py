"""The life of an integration, in one table: what its mapping leaves unmapped never comes to review."""

from __future__ import annotations

from app.errors import Problem

# `end`: an institution that drafts it or holds data of it leaves.
TRANSITIONS: dict[str, dict[str, str]] = {
    "draft": {"edit": "draft", "submit": "checking", "end": "withdrawn"},
    # The checking job runs at least once: it may find its own outcome already written, and then does nothing.
    "checking": {
        "accept": "in_review",
        "refuse": "draft",
        "take_back": "draft",  # where its check was given up
        "end": "withdrawn",
    },
    "in_review": {
        "review": "in_review",
        "return": "draft",
        "reopen": "draft",
        "publish": "published",
        "end": "withdrawn",
    },
    "published": {"supersede": "superseded", "withdraw": "withdrawn"},
    "superseded": {"withdraw": "withdrawn"},
    "withdrawn": {},
}


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"An integration that is {state} cannot {verb}.", extra={"state": state})
    return after
