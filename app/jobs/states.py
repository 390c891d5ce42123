"""The life of a job's row, in one table."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "waiting": {"hand_over": "queued", "begin": "running"},
    "queued": {"begin": "running"},
    "running": {
        "begin": "running",  # its worker died: it is begun again
        "put_back": "queued",  # its worker was told to end
        "end": "done", "fail": "failed", "retry": "retried", "park": "parked", "cancel": "cancelled",
    },
    "failed": {"retry": "retried"},
    # Given up until the operator has looked; let go, or overtaken, another row does its work.
    "parked": {"release": "retried", "overtake": "retried"},
    "done": {},
    "retried": {},
    "cancelled": {},
}  # fmt: skip
ENDED = frozenset(state for state, verbs in TRANSITIONS.items() if "begin" not in verbs)


def step(state: str, verb: str) -> str:
    """The state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    if (after := TRANSITIONS[state].get(verb)) is None:
        raise Problem("conflict", f"A job that is {state} cannot {verb}.", extra={"state": state})
    return after
