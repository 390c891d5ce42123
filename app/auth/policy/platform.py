"""The platform, its institutions, alarms and audit streams: who may administer, read and close them."""

from __future__ import annotations

from app.auth.policy.deciding import REASONS, UNSEEN, YES, Decision, own_or_steward, refusing, seen
from app.auth.policy.facts import AlarmFacts, AuditFacts, InstitutionFacts
from app.auth.policy.roles import Actor
from app.errors import Problem


def may_administer(actor: Actor) -> Decision:
    """Register institutions, clients and accounts, rotate keys: the platform's administration alone."""
    return YES if actor.role == "platform" else seen("platform_only")


def must_administer(actor: Actor) -> None:
    """Refuse whoever is not the platform's administration."""
    if not may_administer(actor).allowed:
        raise Problem("forbidden", REASONS["platform_only"], extra={"reason": "platform_only"})


def may_read_institution(actor: Actor, facts: InstitutionFacts) -> Decision:
    """The platform reads all, an institution itself, a steward those they serve."""
    if actor.role == "platform":
        return YES
    return own_or_steward(actor, facts.institution_id)


must_read_institution = refusing("institution", may_read_institution)


def may_read_alarm(actor: Actor, facts: AlarmFacts) -> Decision:
    """The institution it is about and its stewards; one about the platform: the platform and the public stewards."""
    if facts.institution_id is None:
        public = actor.role == "steward" and actor.institution_id is None
        return YES if actor.role == "platform" or public else UNSEEN
    return own_or_steward(actor, facts.institution_id)


def may_acknowledge_alarm(actor: Actor, facts: AlarmFacts) -> Decision:
    """Whoever sees an alarm may say that they look into it."""
    return may_read_alarm(actor, facts)


def may_close_alarm(actor: Actor, facts: AlarmFacts) -> Decision:
    """A steward: whoever an alarm is about does not wave it away."""
    read = may_read_alarm(actor, facts)
    return read if actor.role == "steward" or not read.visible else seen("steward_only")


must_read_alarm = refusing("alarm", may_read_alarm)
must_acknowledge_alarm = refusing("alarm", may_acknowledge_alarm)
must_close_alarm = refusing("alarm", may_close_alarm)


def may_read_audit(actor: Actor, facts: AuditFacts) -> Decision:
    """The platform's stream: platform. An institution's and its projects': the institution, its stewards. A project's:
    its holder too. An inspector's: all, or those of the one institution they are sent to. Streams hold ids, digests and
    counts only, so the platform may check every chain."""
    if actor.role == "platform" or (facts.holder is not None and actor.subject == facts.holder):
        return YES
    if actor.role == "inspector" and actor.institution_id in (None, facts.institution_id, *facts.also):
        return YES
    if facts.institution_id is None:
        return UNSEEN
    return own_or_steward(actor, facts.institution_id, facts.also)


must_read_audit = refusing("audit stream", may_read_audit)


def may_inspect(actor: Actor, facts: InstitutionFacts) -> Decision:
    """Read who got what of an institution's data (of everybody's, where it has no id): an inspector sent there."""
    if actor.role == "inspector":
        return YES if actor.institution_id in (None, facts.institution_id) else UNSEEN
    return seen("inspector_only")


must_inspect = refusing("institution", may_inspect)
