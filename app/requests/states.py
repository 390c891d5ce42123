"""The lives of an access request, of its reviews and of a permit, one table each."""

from __future__ import annotations

from app.errors import Problem

TRANSITIONS: dict[str, dict[str, str]] = {
    "draft": {"edit": "draft", "submit": "submitted", "withdraw": "withdrawn_by_applicant", "end": "expired"},
    "submitted": {"claim": "in_review", "withdraw": "withdrawn_by_applicant", "end": "expired"},
    "in_review": {
        "claim": "in_review", "review": "in_review", "return": "returned", "approve": "approved",
        "approve_conditionally": "conditionally_approved", "reject": "rejected",
        "withdraw": "withdrawn_by_applicant", "end": "expired",
    },
    "returned": {"edit": "returned", "submit": "submitted", "withdraw": "withdrawn_by_applicant", "end": "expired"},
    "conditionally_approved": {
        "claim": "conditionally_approved", "review": "conditionally_approved", "return": "returned",
        "approve": "approved", "reject": "rejected", "withdraw": "withdrawn_by_applicant", "end": "expired",
    },
    "approved": {},
    "rejected": {},
    "withdrawn_by_applicant": {},
    "expired": {},
}  # fmt: skip

PERMIT_TRANSITIONS: dict[str, dict[str, str]] = {
    "pending_agreement": {
        "accept": "active", "revoke": "revoked", "expire": "expired", "hand_over": "pending_agreement"
    },
    "active": {
        "suspend": "suspended", "revoke": "revoked", "expire": "expired", "hand_over": "pending_agreement"
    },
    # Handed over while it is suspended, it is the new holder's to agree to once it is resumed.
    "suspended": {"resume": "active", "revoke": "revoked", "expire": "expired", "hand_over": "suspended",
                  "resume_unagreed": "pending_agreement"},
    "expired": {},
    "revoked": {},
}  # fmt: skip

BOARDS = ("DRB", "IRB")
SETTLED = frozenset({"approved", "exempt"})
REVIEWABLE = frozenset({"submitted", "in_review", "conditionally_approved"})


def step(state: str, verb: str) -> str:
    """The request's state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    return _step(TRANSITIONS, "An access request", state, verb)


def step_permit(state: str, verb: str) -> str:
    """The permit's state after the verb; a Problem `conflict` where the verb is not allowed in this state."""
    return _step(PERMIT_TRANSITIONS, "A permit", state, verb)


def _step(table: dict[str, dict[str, str]], noun: str, state: str, verb: str) -> str:
    if (after := table[state].get(verb)) is None:
        words = f"{noun} that is {state} cannot be changed by `{verb}`."
        raise Problem("conflict", words, extra={"state": state})
    return after
