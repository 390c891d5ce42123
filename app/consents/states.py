"""The life of one participant's consent to one domain; what a withdrawal is of is the verb it comes by."""

from __future__ import annotations

from app.schemas.register import KINDS

TRANSITIONS: dict[str, dict[str, str]] = {
    "unsaid": {"grant": "granted", **dict.fromkeys(KINDS, "withdrawn")},
    "granted": {
        "change": "granted", "come_of_age": "reconsent_due", "end_by_date": "ended",
        **dict.fromkeys(KINDS, "withdrawn"),
    },
    # The word of a parent holds for what is there, and for nothing new until the adult has given theirs.
    "reconsent_due": {"grant": "granted", "end_by_date": "ended", **dict.fromkeys(KINDS, "withdrawn")},
    "ended": {"grant": "granted", **dict.fromkeys(KINDS, "withdrawn")},
    # Only a later word of the person themself grants again; destruction may follow a withdrawal.
    "withdrawn": {"grant": "granted", "destroy": "withdrawn"},
}  # fmt: skip

# What copies may rest on: someone who leaves one of these is followed into every copy.
HOLDING = ("granted", "reconsent_due")


def verb_of(before: str | None, after: str, kind: str = "") -> str | None:
    """The verb that leads from one state to the next (None: nothing was ever said); None where there is none."""
    verbs = TRANSITIONS[before or "unsaid"]
    if kind and after == "withdrawn":
        return kind if verbs.get(kind) == after else None
    return next((verb for verb, to in verbs.items() if to == after and verb not in KINDS), None)
