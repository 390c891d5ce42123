"""An institution leaves or merges: who may say so, who must confirm it, who reads of it."""

from __future__ import annotations

from app.auth.policy.deciding import UNSEEN, YES, Decision, own_or_steward, owns, refusing, seen
from app.auth.policy.facts import DepartureFacts
from app.auth.policy.roles import Actor


def may_declare_departure(actor: Actor, facts: DepartureFacts) -> Decision:
    """Declare it and call it off: the institution itself, or the platform's administration."""
    if actor.role == "platform" or owns(actor, facts.institution_id):
        return YES
    return seen("institution_only") if may_read_departure(actor, facts).visible else UNSEEN


def may_confirm_departure(actor: Actor, facts: DepartureFacts) -> Decision:
    """The platform's administration, or whoever takes over; never whoever declared it: it cannot be undone."""
    if actor.subject == facts.declared_by:
        return seen("own_request")
    if actor.role == "platform" or (facts.successor_id is not None and owns(actor, facts.successor_id)):
        return YES
    return seen("platform_only") if may_read_departure(actor, facts).visible else UNSEEN


def may_read_departure(actor: Actor, facts: DepartureFacts) -> Decision:
    """The platform, the institution, its successor, and their stewards."""
    if actor.role == "platform":
        return YES
    return own_or_steward(actor, facts.institution_id, (facts.successor_id,) if facts.successor_id else ())


must_declare_departure = refusing("institution", may_declare_departure)
must_confirm_departure = refusing("departure", may_confirm_departure)
must_read_departure = refusing("departure", may_read_departure)
