"""The life of a withdrawal, in one table."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    # Every extract that holds the person is closed; where in it they are is being looked for.
    "taken": {"block": "blocked"},
    # Their parts are closed one by one, the holders are told, the next generations are on their way.
    "blocked": {"block": "blocked", "destroy": "destroying", "close": "closed"},
    # Only where destruction was asked for: their rows leave every version of the cohort.
    "destroying": {"block": "destroying", "close": "closed"},
    "closed": {},
}


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"A withdrawal that is {state} cannot {verb}.")
    return after
