"""Who may do what, on which object: pure rules, each as `may_x` (a decision) and `must_x` (a refusal).

A scope says what a token may try; the rules here say on which object. What lies outside the asker's institution or
project is answered as if it did not exist (404); what lies inside without the right, with the reason (403).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeVar

from app.errors import Problem, not_found

Role = Literal["platform", "institution", "steward", "researcher"]


class Scope(StrEnum):
    """Every scope of the API, alphabetical; `noun:verb`."""

    AUDIT_READ = "audit:read"
    CATALOG_READ = "catalog:read"
    COHORTS_READ = "cohorts:read"
    COHORTS_WRITE = "cohorts:write"
    CONSENTS_WRITE = "consents:write"
    DATASETS_PUBLISH = "datasets:publish"
    EXTRACTS_READ = "extracts:read"
    EXTRACTS_WRITE = "extracts:write"
    PERMITS_MANAGE = "permits:manage"
    PLATFORM_ADMIN = "platform:admin"
    REQUESTS_REVIEW = "requests:review"
    REQUESTS_WRITE = "requests:write"
    UPLOADS_WRITE = "uploads:write"


# The most that any token of a role can hold. Nobody has both ends of a decision: who asks never reviews, who holds
# the data never publishes it, who runs the platform reads neither data nor extracts.
ROLE_SCOPES: dict[str, frozenset[Scope]] = {
    "platform": frozenset({Scope.AUDIT_READ, Scope.CATALOG_READ, Scope.PLATFORM_ADMIN}),
    "institution": frozenset(
        {
            Scope.AUDIT_READ, Scope.CATALOG_READ, Scope.COHORTS_READ, Scope.COHORTS_WRITE, Scope.CONSENTS_WRITE,
            Scope.UPLOADS_WRITE,
        }
    ),
    "steward": frozenset(
        {
            Scope.AUDIT_READ, Scope.CATALOG_READ, Scope.COHORTS_READ, Scope.DATASETS_PUBLISH, Scope.PERMITS_MANAGE,
            Scope.REQUESTS_REVIEW,
        }
    ),
    "researcher": frozenset(
        {Scope.CATALOG_READ, Scope.EXTRACTS_READ, Scope.EXTRACTS_WRITE, Scope.REQUESTS_WRITE}
    ),
}  # fmt: skip

REASONS: dict[str, str] = {
    "applicant_only": "Only the applicant may do this.",
    "drafter_only": "Only the institution that drafts the integration may do this.",
    "holder_only": "Only the holder of the project may do this.",
    "institution_only": "Only the institution that holds the cohort may do this.",
    "not_published": "The dataset version is not published.",
    "own_request": "Nobody reviews or decides what they asked for themselves.",
    "platform_only": "Only the platform's administration may do this.",
    "researcher_only": "Only a researcher may do this.",
    "steward_only": "Only a steward may do this.",
}

PUBLISHED = frozenset({"published"})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `subject` is `client:<id>` or `account:<id>`; a steward without an institution serves all of them."""

    subject: str
    client_id: str
    role: Role
    institution_id: str | None
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed; if not, whether the object may be seen to exist, and why (a key of `REASONS`)."""

    allowed: bool
    visible: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InstitutionFacts:
    """An institution."""

    institution_id: str


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """A cohort, a dataset or their consents: `institution_id` holds it."""

    institution_id: str


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A dataset version and the institution that holds its cohort; `also` those of the other sources, if united."""

    institution_id: str
    state: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IntegrationFacts:
    """An integration: `institution_id` drafts it, `also` hold the data that it unites."""

    institution_id: str
    state: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UploadFacts:
    """An upload into a version of the institution."""

    institution_id: str


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """An access request; `institution_id` (and `also`, if united) hold what is asked for, `applicant` is a subject."""

    applicant: str
    institution_id: str
    state: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """A project, its permits and extracts; `institution_id` (and `also`) hold the data, `holder` is a subject."""

    holder: str
    institution_id: str
    also: tuple[str, ...] = ()


PermitFacts = ProjectFacts


@dataclass(frozen=True, slots=True)
class AlarmFacts:
    """An alarm about what an institution holds or promised, or about the platform itself (None)."""

    institution_id: str | None


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """An audit stream: the platform's (both None), an institution's, or a project's (with its holder)."""

    institution_id: str | None = None
    holder: str | None = None
    also: tuple[str, ...] = ()


F = TypeVar("F")

_YES = Decision(True, True)
_UNSEEN = Decision(False, False)


def _seen(reason: str) -> Decision:
    return Decision(False, True, reason)


def _owns(actor: Actor, institution_id: str) -> bool:
    return actor.role == "institution" and actor.institution_id == institution_id


def _stewards(actor: Actor, institution_id: str, also: tuple[str, ...] = ()) -> bool:
    """A steward without an institution is the public data review board's and serves every cohort. Of a united
    version the stewards of every source are stewards."""
    return actor.role == "steward" and actor.institution_id in (None, institution_id, *also)


def _own_only(actor: Actor, institution_id: str) -> Decision:
    if _owns(actor, institution_id):
        return _YES
    return _seen("institution_only") if _stewards(actor, institution_id) else _UNSEEN


def _own_or_steward(actor: Actor, institution_id: str, also: tuple[str, ...] = ()) -> Decision:
    if any(_owns(actor, one) for one in (institution_id, *also)) or _stewards(actor, institution_id, also):
        return _YES
    return _UNSEEN


def _must(noun: str, rule: Callable[[Actor, F], Decision]) -> Callable[[Actor, F], None]:
    """The refusing twin of a rule: `not_found` for what must not be seen, `forbidden` with the reason for what may."""

    def must(actor: Actor, facts: F) -> None:
        decision = rule(actor, facts)
        if decision.allowed:
            return
        if not decision.visible:
            raise not_found(noun)
        raise Problem("forbidden", REASONS[decision.reason], extra={"reason": decision.reason})

    return must


# Platform


def may_administer(actor: Actor) -> Decision:
    """Register institutions, clients and accounts, rotate keys: the platform's administration alone."""
    return _YES if actor.role == "platform" else _seen("platform_only")


def must_administer(actor: Actor) -> None:
    """Refuse whoever is not the platform's administration."""
    if not may_administer(actor).allowed:
        raise Problem("forbidden", REASONS["platform_only"], extra={"reason": "platform_only"})


def may_read_institution(actor: Actor, facts: InstitutionFacts) -> Decision:
    """The platform reads all, an institution itself, a steward those they serve."""
    if actor.role == "platform":
        return _YES
    return _own_or_steward(actor, facts.institution_id)


must_read_institution = _must("institution", may_read_institution)


# Cohorts, consents, versions, uploads


def may_register_cohort(actor: Actor, facts: CohortFacts) -> Decision:
    """An institution registers under its own name."""
    return _own_only(actor, facts.institution_id)


def may_read_cohort(actor: Actor, facts: CohortFacts) -> Decision:
    """The holder and its stewards; the public face of a cohort is the catalogue."""
    return _own_or_steward(actor, facts.institution_id)


def may_change_cohort(actor: Actor, facts: CohortFacts) -> Decision:
    """Edit a cohort, add datasets and versions: the holder alone."""
    return _own_only(actor, facts.institution_id)


def may_change_consents(actor: Actor, facts: CohortFacts) -> Decision:
    """Load the consent register: the holder alone, for consent is given to the holder."""
    return _own_only(actor, facts.institution_id)


def may_take_withdrawal(actor: Actor, facts: CohortFacts) -> Decision:
    """Record that a participant withdrew: the holder alone, who can tell that it is them."""
    return _own_only(actor, facts.institution_id)


def may_read_receipt(actor: Actor, facts: CohortFacts) -> Decision:
    """What a withdrawal did, whole: the holder of the cohort and its stewards. It names no one."""
    return _own_or_steward(actor, facts.institution_id)


def may_read_version(actor: Actor, facts: VersionFacts) -> Decision:
    """The dictionary and report of a version: the holder and its stewards."""
    return _own_or_steward(actor, facts.institution_id, facts.also)


def may_change_version(actor: Actor, facts: VersionFacts) -> Decision:
    """Set the dictionary, upload into and submit a version: the holder alone."""
    return _own_only(actor, facts.institution_id)


def may_publish_version(actor: Actor, facts: VersionFacts) -> Decision:
    """A steward publishes or returns: whoever made a version does not wave it through."""
    if _stewards(actor, facts.institution_id):
        return _YES
    return _seen("steward_only") if _owns(actor, facts.institution_id) else _UNSEEN


def may_find_version(actor: Actor, facts: VersionFacts) -> Decision:
    """What the catalogue shows: published versions to everyone, others to the holder and its stewards."""
    return _YES if facts.state in PUBLISHED else _own_or_steward(actor, facts.institution_id, facts.also)


def may_upload(actor: Actor, facts: UploadFacts) -> Decision:
    """Create, continue, read and end an upload: the holder alone."""
    return _own_only(actor, facts.institution_id)


must_register_cohort = _must("institution", may_register_cohort)
must_read_cohort = _must("cohort", may_read_cohort)
must_change_cohort = _must("cohort", may_change_cohort)
must_read_dataset = _must("dataset", may_read_cohort)
must_change_dataset = _must("dataset", may_change_cohort)
must_change_consents = _must("cohort", may_change_consents)
must_read_receipt = _must("withdrawal", may_read_receipt)
must_take_withdrawal = _must("cohort", may_take_withdrawal)
must_read_version = _must("dataset version", may_read_version)
must_change_version = _must("dataset version", may_change_version)
must_publish_version = _must("dataset version", may_publish_version)
must_find_version = _must("dataset version", may_find_version)
must_upload = _must("upload", may_upload)


# Integrations


def may_draft_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Begin one: an institution, in its own name."""
    return _own_only(actor, facts.institution_id)


def may_read_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Who drafts it, and everyone whose data it unites, with their stewards."""
    return _own_or_steward(actor, facts.institution_id, facts.also)


def may_change_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Set its mapping, hand it in, take it back: who drafts it."""
    if _owns(actor, facts.institution_id):
        return _YES
    return _seen("drafter_only") if may_read_integration(actor, facts).visible else _UNSEEN


def may_review_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Approve, return and publish: a steward of the data that it unites; who drafted it does not wave it through."""
    if actor.role == "steward" and actor.institution_id in (None, *facts.also):
        return _YES
    return _seen("steward_only") if may_read_integration(actor, facts).visible else _UNSEEN


def may_withdraw_integration(actor: Actor, facts: IntegrationFacts) -> Decision:
    """Take it out of use: any institution whose data it unites, and who drafted it."""
    if any(_owns(actor, one) for one in (facts.institution_id, *facts.also)):
        return _YES
    return _seen("institution_only") if may_read_integration(actor, facts).visible else _UNSEEN


must_draft_integration = _must("institution", may_draft_integration)
must_read_integration = _must("integration", may_read_integration)
must_change_integration = _must("integration", may_change_integration)
must_review_integration = _must("integration", may_review_integration)
must_withdraw_integration = _must("integration", may_withdraw_integration)


# Requests and decisions


def may_create_request(actor: Actor, facts: VersionFacts) -> Decision:
    """A researcher asks for a published version."""
    found = may_find_version(actor, facts)
    if not found.allowed:
        return found
    if actor.role != "researcher":
        return _seen("researcher_only")
    return _YES if facts.state in PUBLISHED else _seen("not_published")


def may_read_request(actor: Actor, facts: RequestFacts) -> Decision:
    """The applicant, and the cohort's stewards once it is submitted: a draft is the applicant's own."""
    if actor.subject == facts.applicant:
        return _YES
    served = _stewards(actor, facts.institution_id, facts.also)
    return _YES if served and facts.state != "draft" else _UNSEEN


def may_edit_request(actor: Actor, facts: RequestFacts) -> Decision:
    """Edit, submit, withdraw, nudge: the applicant alone."""
    if actor.subject == facts.applicant:
        return _YES
    return _seen("applicant_only") if may_read_request(actor, facts).visible else _UNSEEN


def may_review_request(actor: Actor, facts: RequestFacts) -> Decision:
    """Claim, return, review, dry-run and decide: a steward of the cohort, never on their own request."""
    if actor.subject == facts.applicant:
        return _seen("own_request")
    return _YES if may_read_request(actor, facts).allowed else _UNSEEN


must_create_request = _must("dataset version", may_create_request)
must_read_request = _must("access request", may_read_request)
must_edit_request = _must("access request", may_edit_request)
must_review_request = _must("access request", may_review_request)


# Projects, permits, extracts


def may_read_permit(actor: Actor, facts: PermitFacts) -> Decision:
    """The holder, and the stewards of the cohort."""
    if actor.subject == facts.holder or _stewards(actor, facts.institution_id, facts.also):
        return _YES
    return _UNSEEN


def may_accept_agreement(actor: Actor, facts: PermitFacts) -> Decision:
    """Only the holder binds themselves."""
    return _holder_only(actor, facts)


def may_manage_permit(actor: Actor, facts: PermitFacts) -> Decision:
    """Suspend and revoke: a steward of the cohort, who is not its holder."""
    if actor.subject == facts.holder:
        return _seen("own_request")
    return _YES if _stewards(actor, facts.institution_id, facts.also) else _UNSEEN


def may_order_extract(actor: Actor, facts: ProjectFacts) -> Decision:
    """Only the holder of the permit."""
    return _holder_only(actor, facts)


def may_read_extract(actor: Actor, facts: ProjectFacts) -> Decision:
    """Status, manifest and files: only the holder. Stewards review requests, they do not read what was released."""
    return _holder_only(actor, facts)


def _holder_only(actor: Actor, facts: ProjectFacts) -> Decision:
    if actor.subject == facts.holder:
        return _YES
    return _seen("holder_only") if _stewards(actor, facts.institution_id, facts.also) else _UNSEEN


must_read_permit = _must("permit", may_read_permit)
must_accept_agreement = _must("permit", may_accept_agreement)
must_manage_permit = _must("permit", may_manage_permit)
must_order_extract = _must("permit", may_order_extract)
must_read_extract = _must("extract", may_read_extract)


# Findings


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
    return _own_only(actor, facts.institution_id)


must_report_finding = _must("extract", may_report_finding)
must_read_finding = _must("finding", may_read_finding)
must_review_finding = _must("finding", may_review_finding)
must_receive_finding = _must("finding", may_receive_finding)


# Alarms


def may_read_alarm(actor: Actor, facts: AlarmFacts) -> Decision:
    """The institution it is about and its stewards; one about the platform: the platform and the public stewards."""
    if facts.institution_id is None:
        public = actor.role == "steward" and actor.institution_id is None
        return _YES if actor.role == "platform" or public else _UNSEEN
    return _own_or_steward(actor, facts.institution_id)


def may_acknowledge_alarm(actor: Actor, facts: AlarmFacts) -> Decision:
    """Whoever sees an alarm may say that they look into it."""
    return may_read_alarm(actor, facts)


def may_close_alarm(actor: Actor, facts: AlarmFacts) -> Decision:
    """A steward: whoever an alarm is about does not wave it away."""
    seen = may_read_alarm(actor, facts)
    return seen if actor.role == "steward" or not seen.visible else _seen("steward_only")


must_read_alarm = _must("alarm", may_read_alarm)
must_acknowledge_alarm = _must("alarm", may_acknowledge_alarm)
must_close_alarm = _must("alarm", may_close_alarm)


# Audit


def may_read_audit(actor: Actor, facts: AuditFacts) -> Decision:
    """The platform's stream: platform. An institution's and its projects': the institution, its stewards. A project's:
    its holder too. Streams hold ids, digests and counts only, so the platform may check every chain."""
    if actor.role == "platform" or (facts.holder is not None and actor.subject == facts.holder):
        return _YES
    if facts.institution_id is None:
        return _UNSEEN
    return _own_or_steward(actor, facts.institution_id, facts.also)


must_read_audit = _must("audit stream", may_read_audit)
