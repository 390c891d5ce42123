"""Every guarded route with the rule that decides on its object, as `app.auth.policy` has it, for objects that are A's.

The routes are asked and must answer what their rule says. A route that stands nowhere here is found by `unplaced`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.auth import policy
from app.auth.policy import Actor, Decision, Role

# Who asks. `A` is the institution that holds everything, `B` another.
ASKERS: dict[str, tuple[Role, str]] = {
    "platform": ("platform", ""),
    "hospital": ("institution", "A"),
    "neighbour": ("institution", "B"),
    "steward": ("steward", ""),
    "own steward": ("steward", "A"),
    "other steward": ("steward", "B"),
    "researcher": ("researcher", ""),
    "other researcher": ("researcher", ""),
    "inspector": ("inspector", ""),
    "own inspector": ("inspector", "A"),
    "other inspector": ("inspector", "B"),
}
HOLDER = "client:researcher"
Rule = Callable[[Actor, "Facts"], Decision]
YES, UNSEEN = Decision(True, True), Decision(False, False)


@dataclass(frozen=True)
class Facts:
    """What is true of A's objects."""

    a: str

    @property
    def cohort(self) -> policy.CohortFacts:
        return policy.CohortFacts(self.a)

    @property
    def draft(self) -> policy.VersionFacts:
        return policy.VersionFacts(self.a, "draft")

    @property
    def project(self) -> policy.ProjectFacts:
        return policy.ProjectFacts(HOLDER, self.a)

    @property
    def request(self) -> policy.RequestFacts:
        return policy.RequestFacts(HOLDER, self.a, "in_review")

    @property
    def institution(self) -> policy.InstitutionFacts:
        return policy.InstitutionFacts(self.a)

    @property
    def departure(self) -> policy.DepartureFacts:
        return policy.DepartureFacts(self.a, None, "client:hospital")

    @property
    def incident(self) -> policy.IncidentFacts:
        return policy.IncidentFacts("client:hospital", (self.a,))

    @property
    def integration(self) -> policy.IntegrationFacts:
        return policy.IntegrationFacts(self.a, "draft")


def _open(_actor: Actor, _of: Facts) -> Decision:
    """Whoever has the scope: what it is about is the asker's own, or everybody's."""
    return YES


def _administers(actor: Actor, _of: Facts) -> Decision:
    return policy.may_administer(actor)


def _own_count(actor: Actor, _of: Facts) -> Decision:
    return YES if actor.subject == HOLDER else UNSEEN


def _finding(actor: Actor, of: Facts) -> Decision:
    if actor.role == "institution":
        return policy.may_receive_finding(actor, of.cohort)
    return policy.may_read_finding(actor, of.project)


def _of(kind: str, rule: Callable[[Actor, Any], Decision]) -> Rule:
    return lambda actor, facts: rule(actor, getattr(facts, kind))


P = policy
# The rule of each route that is about an object -> the routes. Who asks in a list for what they may not see is shown
# none of it: those are in `LISTS`.
RULES: tuple[tuple[Rule, str], ...] = (
    (
        _of("cohort", P.may_read_cohort),
        """GET /v1/cohorts/{cohort_id}
        GET /v1/cohorts/{cohort_id}/consents/summary
        GET /v1/cohorts/{cohort_id}/datasets
        GET /v1/cohorts/{cohort_id}/feeds
        GET /v1/cohorts/{cohort_id}/uploads
        GET /v1/datasets/{dataset_id}
        GET /v1/datasets/{dataset_id}/versions""",
    ),
    (
        _of("cohort", P.may_change_cohort),
        """POST /v1/cohorts/{cohort_id}/datasets
        PUT /v1/datasets/{dataset_id}/creators
        POST /v1/datasets/{dataset_id}/versions""",
    ),
    (
        _of("cohort", P.may_change_consents),
        """POST /v1/cohorts/{cohort_id}/consents
        PUT /v1/cohorts/{cohort_id}/consents
        POST /v1/cohorts/{cohort_id}/consents/of
        PUT /v1/cohorts/{cohort_id}/feeds/{kind}
        POST /v1/cohorts/{cohort_id}/feeds/{kind}/empty
        POST /v1/cohorts/{cohort_id}/return-tokens""",
    ),
    (
        _of("cohort", P.may_take_withdrawal),
        """GET /v1/cohorts/{cohort_id}/withdrawals
        POST /v1/cohorts/{cohort_id}/withdrawals
        POST /v1/cohorts/{cohort_id}/uses
        GET /v1/withdrawals/{withdrawal_id}""",
    ),
    (
        _of("cohort", P.may_read_receipt),  # and holders of an extract that held the person; none does here
        """GET /v1/withdrawals/{withdrawal_id}/receipt
        GET /v1/withdrawals/{withdrawal_id}/receipt/page
        POST /v1/withdrawals/{withdrawal_id}/receipt/verify""",
    ),
    (
        _of("draft", P.may_read_version),
        """GET /v1/versions/{version_id}
        GET /v1/versions/{version_id}/changes
        GET /v1/versions/{version_id}/dictionary
        GET /v1/versions/{version_id}/errata
        GET /v1/versions/{version_id}/report""",
    ),
    (
        _of("draft", P.may_change_version),
        """PUT /v1/versions/{version_id}/changes
        PUT /v1/versions/{version_id}/dictionary
        PUT /v1/versions/{version_id}/doi
        POST /v1/versions/{version_id}/errata
        POST /v1/versions/{version_id}/reopen
        POST /v1/versions/{version_id}/submit
        PUT /v1/versions/{version_id}/tables/{table}
        POST /v1/versions/{version_id}/withdraw
        POST /v1/uploads""",
    ),
    (
        _of("draft", P.may_publish_version),
        "POST /v1/versions/{version_id}/publish  POST /v1/versions/{version_id}/return",
    ),
    (
        _of("draft", P.may_cite_version),
        "GET /v1/versions/{version_id}/citation  GET /v1/versions/{version_id}/publications",
    ),
    (
        lambda actor, facts: P.may_upload(actor, P.UploadFacts(facts.a)),
        """DELETE /v1/uploads/{upload_id}
        GET /v1/uploads/{upload_id}
        HEAD /v1/uploads/{upload_id}
        PATCH /v1/uploads/{upload_id}""",
    ),
    (_of("draft", P.may_create_request), "POST /v1/requests"),
    (
        _of("request", P.may_read_request),
        "GET /v1/requests/{request_id}  GET /v1/requests/{request_id}/dummy",
    ),
    (
        _of("request", P.may_edit_request),
        "PUT /v1/requests/{request_id}  POST /v1/requests/{request_id}/submit  POST /v1/requests/{request_id}/withdraw",
    ),
    (
        _of("request", P.may_review_request),
        """POST /v1/requests/{request_id}/claim
        POST /v1/requests/{request_id}/decision
        GET /v1/requests/{request_id}/dry-run
        POST /v1/requests/{request_id}/dry-run
        GET /v1/requests/{request_id}/dry-run/page
        POST /v1/requests/{request_id}/return
        POST /v1/requests/{request_id}/reviews""",
    ),
    (
        _of("project", P.may_read_permit),
        """GET /v1/permits/{permit_id}
        GET /v1/permits/{permit_id}/agreement
        GET /v1/permits/{permit_id}/publications
        GET /v1/permits/{permit_id}/quote""",
    ),
    (_of("project", P.may_accept_agreement), "POST /v1/permits/{permit_id}/agreement"),
    (
        _of("project", P.may_report_publication),
        "POST /v1/permits/{permit_id}/publications  DELETE /v1/permits/{permit_id}/publications/{publication_id}",
    ),
    (
        _of("project", P.may_manage_permit),
        """POST /v1/permits/{permit_id}/amend
        POST /v1/permits/{permit_id}/resume
        POST /v1/permits/{permit_id}/revoke
        POST /v1/permits/{permit_id}/suspend""",
    ),
    (_of("project", P.may_order_extract), "POST /v1/extracts"),
    (_of("project", P.may_cancel_extract), "POST /v1/extracts/{extract_id}/cancel"),
    (
        _of("project", P.may_read_extract),
        """GET /v1/extracts/{extract_id}
        POST /v1/extracts/{extract_id}/attestation
        POST /v1/extracts/{extract_id}/links
        GET /v1/extracts/{extract_id}/files/{name}
        HEAD /v1/extracts/{extract_id}/files/{name}
        GET /v1/extracts/{extract_id}/manifest
        GET /v1/extracts/{extract_id}/recalls
        GET /v1/extracts/{extract_id}/recalls.csv""",
    ),
    (
        _of("project", P.may_return_data),
        "POST /v1/extracts/{extract_id}/returns  PUT /v1/returns/{return_id}/tables/{table}",
    ),
    (_of("project", P.may_read_return), "GET /v1/returns/{return_id}"),
    (_of("project", P.may_report_finding), "POST /v1/findings"),
    (_finding, "GET /v1/findings/{finding_id}"),
    (
        _of("project", P.may_review_finding),
        "POST /v1/findings/{finding_id}/accept  POST /v1/findings/{finding_id}/decline",
    ),
    (
        _of("cohort", P.may_receive_finding),
        "POST /v1/findings/{finding_id}/delivered  POST /v1/findings/{finding_id}/informed",
    ),
    (_of("incident", P.may_read_incident), "GET /v1/incidents/{incident_id}"),
    (_of("incident", P.may_contain_incident), "POST /v1/incidents/{incident_id}/contain"),
    (
        _of("incident", P.may_handle_incident),
        """POST /v1/incidents/{incident_id}/assess
        POST /v1/incidents/{incident_id}/close
        POST /v1/incidents/{incident_id}/dismiss
        POST /v1/incidents/{incident_id}/evidence
        POST /v1/incidents/{incident_id}/notify
        POST /v1/incidents/{incident_id}/recover
        POST /v1/incidents/{incident_id}/thaw""",
    ),
    (_of("integration", P.may_read_integration), "GET /v1/integrations/{integration_id}"),
    (
        _of("integration", P.may_change_integration),
        """PUT /v1/integrations/{integration_id}/mapping
        POST /v1/integrations/{integration_id}/reopen
        POST /v1/integrations/{integration_id}/submit""",
    ),
    (
        _of("integration", P.may_review_integration),
        "POST /v1/integrations/{integration_id}/approvals  POST /v1/integrations/{integration_id}/publish",
    ),
    (_of("integration", P.may_withdraw_integration), "POST /v1/integrations/{integration_id}/withdraw"),
    (_of("departure", P.may_read_departure), "GET /v1/departures/{departure_id}"),
    (_of("departure", P.may_confirm_departure), "POST /v1/departures/{departure_id}/confirm"),
    (_of("departure", P.may_declare_departure), "POST /v1/departures/{departure_id}/call-off"),
    (
        lambda actor, facts: P.may_declare_departure(actor, P.DepartureFacts(facts.a)),
        "POST /v1/institutions/{institution_id}/departures",
    ),
    (
        _of("institution", P.may_read_institution),
        "GET /v1/institutions/{institution_id}  GET /v1/institutions/{institution_id}/quotas",
    ),
    (
        lambda actor, facts: P.may_acknowledge_alarm(actor, P.AlarmFacts(facts.a)),
        "POST /v1/alarms/{alarm_id}/acknowledge",
    ),
    (
        lambda actor, facts: P.may_close_alarm(actor, P.AlarmFacts(facts.a)),
        "POST /v1/alarms/{alarm_id}/close",
    ),
    (
        lambda actor, facts: P.may_read_audit(actor, P.AuditFacts(facts.a)),
        "GET /v1/audit  GET /v1/audit/verify",
    ),
    (_of("institution", P.may_inspect), "GET /v1/inspections/releases  GET /v1/inspections/releases.csv"),
    (_own_count, "GET /v1/catalog/counts/{order_id}"),
    (
        _administers,
        """GET /v1/accounts
        POST /v1/accounts
        DELETE /v1/accounts/{account_id}
        POST /v1/accounts/{account_id}/leave
        PUT /v1/accounts/{account_id}/orcid
        GET /v1/clients
        GET /v1/jobs
        GET /v1/jobs/overview
        POST /v1/jobs/{job_id}/cancel
        POST /v1/jobs/{job_id}/release
        POST /v1/clients
        DELETE /v1/clients/{client_id}
        POST /v1/institutions
        PUT /v1/institutions/{institution_id}/ror
        PUT /v1/quotas/{name}""",
    ),
    (
        _open,
        """GET /v1/catalog
        GET /v1/catalog/variables
        GET /v1/catalog/{dataset_id}
        POST /v1/catalog/counts
        POST /v1/cohorts
        POST /v1/integrations
        POST /v1/incidents
        GET /v1/quotas
        OPTIONS /v1/uploads
        OPTIONS /v1/uploads/{upload_id}
        GET /v1/why
        GET /oauth/userinfo
        POST /oauth/userinfo""",
    ),
)
# Lists: who may not read the object by its own route finds its id in none of them.
LISTS: dict[str, tuple[Rule, str]] = {
    "GET /v1/alarms": (lambda actor, facts: P.may_read_alarm(actor, P.AlarmFacts(facts.a)), "alarm_id"),
    "GET /v1/cohorts": (_of("cohort", P.may_read_cohort), "cohort_id"),
    "GET /v1/departures": (_of("departure", P.may_read_departure), "departure_id"),
    "GET /v1/extracts": (_of("project", P.may_read_extract), "extract_id"),
    "GET /v1/findings": (_finding, "finding_id"),
    "GET /v1/incidents": (_of("incident", P.may_read_incident), "incident_id"),
    "GET /v1/institutions": (_of("institution", P.may_read_institution), "institution_id"),
    "GET /v1/integrations": (_of("integration", P.may_read_integration), "integration_id"),
    "GET /v1/permits": (_of("project", P.may_accept_agreement), "permit_id"),
    "GET /v1/permits/asked": (_of("project", P.may_manage_permit), "permit_id"),
    "GET /v1/permits/recalls": (_of("project", P.may_manage_permit), "extract_id"),
    "GET /v1/requests": (_of("request", P.may_read_request), "request_id"),
    "GET /v1/returns": (_of("project", P.may_read_return), "return_id"),
    "GET /v1/versions": (_of("draft", P.may_publish_version), "version_id"),
    "GET /v1/withdrawals": (_of("cohort", P.may_read_receipt), "withdrawal_id"),
}
# Lists that show an object only in another state than it has here: nobody finds it, so nobody is missed.
ELSEWHERE = {"GET /v1/permits/asked", "GET /v1/permits/recalls", "GET /v1/versions", "GET /v1/withdrawals"}


# What A has not got yet: who may read it is told so, by the word of what is missing.
NOT_YET = {
    "GET /v1/versions/{version_id}/report": "no such report",
    "GET /v1/versions/{version_id}/citation": "no such published dataset version",
    "GET /v1/requests/{request_id}/dry-run": "no such dry run",
    "GET /v1/requests/{request_id}/dry-run/page": "no such dry run",
    "GET /v1/catalog/counts/{order_id}": "no such count",
    "POST /v1/cohorts/{cohort_id}/uses": "no such participant",
    "POST /v1/cohorts/{cohort_id}/consents/of": "no such participant",
    "POST /v1/cohorts/{cohort_id}/withdrawals": "no such participant",
}


def placed() -> dict[str, Rule]:
    """Route -> its rule; ValueError where one stands twice."""
    found: dict[str, Rule] = {}
    for rule, text in RULES:
        for route in re.split(r"\s{2,}|\n", text.strip()):
            if route in found or route in LISTS:
                raise ValueError(f"twice: {route}")
            found[route] = rule
    return found


def unplaced(routes: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Guarded routes that stand nowhere here; and entries that are no guarded route."""
    known = {*placed(), *LISTS}
    return sorted(set(routes) - known), sorted(known - set(routes))
