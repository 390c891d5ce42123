"""The life of an upload: open -> receiving -> complete -> checking -> accepted | quarantined | rejected | expired."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "open": {
        "receive": "receiving", "finish": "complete",
        "terminate": "expired", "expire": "expired", "supersede": "expired", "destroy": "expired",
    },
    "receiving": {
        "receive": "receiving", "finish": "complete",
        "terminate": "expired", "expire": "expired", "supersede": "expired", "destroy": "expired",
    },
    "complete": {
        "check": "checking", "terminate": "expired", "supersede": "expired", "destroy": "expired",
        "expire": "expired",  # what it waits for never came
        "lose": "expired",  # a restore: what had arrived and was not checked is in no backup
    },
    "checking": {
        "check": "checking",  # a job runs at least once: it may begin again
        "accept": "accepted", "quarantine": "quarantined", "reject": "rejected", "supersede": "expired",
        "terminate": "expired", "lose": "expired",
        "destroy": "expired",  # only of a check that was given up: nothing reads it
    },
    "accepted": {},
    "quarantined": {},
    "rejected": {},
    "expired": {},
}  # fmt: skip

RECEIVES = frozenset({"open", "receiving"})
UNDECIDED = frozenset({"open", "receiving", "complete", "checking"})
# States of a dataset version in which its tables may be replaced.
TAKES_UPLOADS = frozenset({"draft", "quarantined"})


def step(state: str, verb: str) -> str:
    """The state after the verb; `conflict` where the state does not know it."""
    if verb not in TRANSITIONS[state]:
        raise Problem("conflict", f"An upload that is {state} cannot {verb}.")
    return TRANSITIONS[state][verb]
