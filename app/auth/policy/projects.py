"""Projects, permits, extracts and what is found in them: the holder's own, the stewards' to manage."""

from __future__ import annotations

from app.auth.policy.deciding import UNSEEN, YES, Decision, own_only, own_or_steward, refusing, seen, stewards
from app.auth.policy.facts import CohortFacts, PermitFacts, ProjectFacts
from app.auth.policy.roles import Actor


def may_read_permit(actor: Actor, facts: PermitFacts) -> Decision:
    """The holder, and the stewards of the cohort."""
    if actor.subject == facts.holder or stewards(actor, facts.institution_id, facts.also):
        return YES
    return UNSEEN


def may_accept_agreement(actor: Actor, facts: PermitFacts) -> Decision:
    """Only the holder binds themselves."""
    return _holder_only(actor, facts)


def may_manage_permit(actor: Actor, facts: PermitFacts) -> Decision:
    """Suspend and revoke: a steward of the cohort, who is not its holder."""
    if actor.subject == facts.holder:
        return seen("own_request")
    return YES if stewards(actor, facts.institution_id, facts.also) else UNSEEN


def may_order_extract(actor: Actor, facts: ProjectFacts) -> Decision:
    """Only the holder of the permit."""
    return _holder_only(actor, facts)


def may_cancel_extract(actor: Actor, facts: ProjectFacts) -> Decision:
    """Whoever ordered it, and the stewards of the data."""
    return YES if stewards(actor, facts.institution_id, facts.also) else _holder_only(actor, facts)


def may_read_extract(actor: Actor, facts: ProjectFacts) -> Decision:
    """Status, manifest and files: only the holder. Stewards review requests, they do not read what was released."""
    return _holder_only(actor, facts)


def _holder_only(actor: Actor, facts: PermitFacts | ProjectFacts) -> Decision:
    if actor.subject == facts.holder:
        return YES
    return seen("holder_only") if stewards(actor, facts.institution_id, facts.also) else UNSEEN


must_read_permit = refusing("permit", may_read_permit)
must_accept_agreement = refusing("permit", may_accept_agreement)
must_manage_permit = refusing("permit", may_manage_permit)
must_order_extract = refusing("permit", may_order_extract)
must_cancel_extract = refusing("extract", may_cancel_extract)
must_read_extract = refusing("extract", may_read_extract)


def may_report_finding(actor: Actor, facts: ProjectFacts) -> Decision:
    """Only the holder of the project, who alone has its pseudonyms."""
    return _holder_only(actor, facts)


def may_read_finding(actor: Actor, facts: ProjectFacts) -> Decision:
    """Whoever reported it, and the stewards of the cohort; the institution receives it by `may_receive_finding`."""
    return may_read_permit(actor, facts)


def may_review_finding(actor: Actor, facts: ProjectFacts) -> Decision:
    """Accept and decline: a steward of the cohort, who did not report it."""
    return may_manage_permit(actor, facts)


def may_receive_finding(actor: Actor, facts: CohortFacts) -> Decision:
    """Read what came back, say that it arrived: the institution alone, for it alone knows who the person is."""
    return own_only(actor, facts.institution_id)


def may_report_publication(actor: Actor, facts: PermitFacts) -> Decision:
    """Say what was published, and take it back: only the holder of the permit."""
    return _holder_only(actor, facts)


def may_return_data(actor: Actor, facts: ProjectFacts) -> Decision:
    """Give back what was made of an extract: only its holder, who alone has its pseudonyms."""
    return _holder_only(actor, facts)


def may_read_return(actor: Actor, facts: ProjectFacts) -> Decision:
    """Whoever returned it, the institution that it came back to and its stewards."""
    return YES if actor.subject == facts.holder else own_or_steward(actor, facts.institution_id)


must_return_data = refusing("extract", may_return_data)
must_send_return = refusing("return", may_return_data)
must_send_returned_version = refusing("dataset version", may_return_data)
must_read_return = refusing("return", may_read_return)
must_report_publication = refusing("permit", may_report_publication)
must_report_finding = refusing("extract", may_report_finding)
must_read_finding = refusing("finding", may_read_finding)
must_review_finding = refusing("finding", may_review_finding)
must_receive_finding = refusing("finding", may_receive_finding)
