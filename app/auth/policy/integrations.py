"""Integrations: who drafts, reviews and withdraws what unites the data of several institutions."""

from __future__ import annotations

from app.auth.policy.deciding import (
    UNSEEN,
    YES,
    Decision,
    own_only,
    own_or_steward,
    owns,
    refusing,
    seen,
)
from app.auth.policy.facts import IntegrationFacts
from app.auth.policy.roles import Actor


def may_draft_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Begin one: an institution, in its own name."""
    return own_only(actor, facts.institution_id)


def may_read_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Who drafts it, and everyone whose data it unites, with their stewards."""
    return own_or_steward(actor, facts.institution_id, facts.also)


def may_change_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Set its mapping, hand it in, take it back: who drafts it."""
    if owns(actor, facts.institution_id):
        return YES
    return seen("drafter_only") if may_read_integration(actor, facts).visible else UNSEEN


def may_review_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Approve, return and publish: a steward of the data that it unites; who drafted it does not wave it through."""
    if actor.role == "steward" and actor.institution_id in (None, *facts.also):
        return YES
    return seen("steward_only") if may_read_integration(actor, facts).visible else UNSEEN


def may_withdraw_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Take it out of use: any institution whose data it unites, and who drafted it."""
    if any(owns(actor, one) for one in (facts.institution_id, *facts.also)):
        return YES
    return seen("institution_only") if may_read_integration(actor, facts).visible else UNSEEN


must_draft_integration = refusing("institution", may_draft_integration)
must_read_integration = refusing("integration", may_read_integration)
must_change_integration = refusing("integration", may_change_integration)
must_review_integration = refusing("integration", may_review_integration)
must_withdraw_integration = refusing("integration", may_withdraw_integration)
