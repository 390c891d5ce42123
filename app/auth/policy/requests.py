"""Access requests: the applicant's to write, the stewards' to decide, never both."""

from __future__ import annotations

from app.auth.policy.cohorts import may_find_version
from app.auth.policy.deciding import UNSEEN, YES, Decision, refusing, seen, stewards
from app.auth.policy.facts import PUBLISHED, RequestFacts, VersionFacts
from app.auth.policy.roles import Actor


def may_create_request(actor: Actor, facts: VersionFacts) -> Decision:
    """A researcher asks for a published version."""
    found = may_find_version(actor, facts)
    if not found.allowed:
        return found
    if actor.role != "researcher":
        return seen("researcher_only")
    return YES if facts.state in PUBLISHED else seen("not_published")


def may_read_request(actor: Actor, facts: RequestFacts) -> Decision:
    """The applicant, and the cohort's stewards once it is submitted: a draft is the applicant's own."""
    if actor.subject == facts.applicant:
        return YES
    served = stewards(actor, facts.institution_id, facts.also)
    return YES if served and facts.state != "draft" else UNSEEN


def may_edit_request(actor: Actor, facts: RequestFacts) -> Decision:
    """Edit, submit, withdraw, nudge: the applicant alone."""
    if actor.subject == facts.applicant:
        return YES
    return seen("applicant_only") if may_read_request(actor, facts).visible else UNSEEN


def may_review_request(actor: Actor, facts: RequestFacts) -> Decision:
    """Claim, return, review, dry-run and decide: a steward of the cohort, never on their own request."""
    if actor.subject == facts.applicant:
        return seen("own_request")
    return YES if may_read_request(actor, facts).allowed else UNSEEN


must_create_request = refusing("dataset version", may_create_request)
must_read_request = refusing("access request", may_read_request)
must_edit_request = refusing("access request", may_edit_request)
must_review_request = refusing("access request", may_review_request)
