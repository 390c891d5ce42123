"""Every route of the service, decided on: a way out for rows or numbers of people, or why nothing leaves by it.

`tests/architecture/test_ways_out.py` fails where a route stands in neither list, so that a new way out has to be named
here; `tests/integration/gate/test_every_way_out.py` walks all of them after a withdrawal and asks the `WAYS` what is
promised of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

# Method and path -> what is asked of it (the name of a question of the walk).
WAYS: dict[str, str] = {
    # rows
    "GET /v1/extracts/{extract_id}/files/{name}": "bytes",
    "HEAD /v1/extracts/{extract_id}/files/{name}": "bytes",
    "GET /v1/links/{extract_id}/{name}": "linked",
    "HEAD /v1/links/{extract_id}/{name}": "linked",
    "POST /v1/extracts/{extract_id}/links": "linked",
    # papers of what was released
    "GET /v1/extracts": "papers",
    "GET /v1/extracts/{extract_id}": "papers",
    "GET /v1/extracts/{extract_id}/manifest": "papers",
    "GET /v1/permits": "papers",
    "GET /v1/permits/{permit_id}": "papers",
    # numbers of people
    "POST /v1/catalog/counts": "counts",
    "POST /v1/requests/{request_id}/dry-run": "dry_run",
    "GET /v1/requests/{request_id}/dry-run": "dry_run",
    "GET /v1/requests/{request_id}/dry-run/page": "dry_run",
    "GET /v1/catalog": "catalogue",
    "GET /v1/catalog/variables": "catalogue",
    "GET /v1/catalog/{dataset_id}": "catalogue",
    "GET /variables": "catalogue",
    "GET /v1/progress": "progress",
    "GET /progress": "progress",
    "GET /": "progress",
    "GET /metrics": "progress",
    "GET /v1/cohorts/{cohort_id}/consents/summary": "register",
    # what leads back to people
    "POST /v1/findings": "tracing",
    "POST /v1/cohorts/{cohort_id}/uses": "uses",
    # who has left, told to those who must delete them
    "GET /v1/extracts/{extract_id}/recalls": "recalls",
    "GET /v1/extracts/{extract_id}/recalls.csv": "recalls",
}

_TALK = "who may talk to the service: tokens, accounts, clients, institutions"
_WORK = "what jobs there are: ids, codes, steps, counts of the work itself; no row and no number of people"
_SAID = "what stewards and institutions did and said; no row and no number of people"
_ASKED = "a request as it was written, its plan and its boards; dummies are made up from the dictionary alone"
_IN = "a way in: what is sent goes to the inbox or the register, the answer tells counts of lines and where they fail"
_BACK = "data on their way back: lineage by ids, states, and where files fail; the rows go to the vault"
_HOME = "the institution's own register or versions, read or changed by it; what it tells is its own"
_STORY = "what was done about a withdrawal: ids, times, counts, a keyed commitment"
_LOOKED = (
    "what was released to whom, for inspectors: papers and how many people there ever were, no row; quotas"
)
_WRONG = "an incident: ids, times, and for stewards how many people were ever given out; the chains, which name no one"

_AGAIN = "the asker's own count, as a worker answered it minutes ago; asked anew, it would be the same answer"

# Why nothing of anybody leaves by these -> method and path.
QUIET: dict[str, tuple[str, ...]] = {
    _AGAIN: ("GET /v1/catalog/counts/{order_id}",),
    _TALK: (
        "GET /.well-known/oauth-authorization-server",
        "GET /.well-known/openid-configuration",
        "GET /docs",
        "GET /healthz",
        "GET /oauth/authorize",
        "GET /oauth/jwks",
        "GET /oauth/userinfo",
        "GET /openapi.json",
        "GET /readyz",
        "GET /v1/accounts",
        "GET /v1/clients",
        "GET /v1/institutions",
        "GET /v1/institutions/{institution_id}",
        "PUT /v1/accounts/{account_id}/orcid",
        "PUT /v1/institutions/{institution_id}/ror",
        "DELETE /v1/accounts/{account_id}",
        "DELETE /v1/clients/{client_id}",
        "HEAD /openapi.json",
        "POST /oauth/authorize",
        "POST /oauth/introspect",
        "POST /oauth/revoke",
        "POST /oauth/token",
        "POST /oauth/userinfo",
        "GET /v1/institutions/{institution_id}/quotas",
        "GET /v1/quotas",
        "PUT /v1/quotas/{name}",
        "POST /v1/accounts",
        "POST /v1/accounts/{account_id}/leave",
        "POST /v1/clients",
        "GET /v1/departures",
        "GET /v1/departures/{departure_id}",
        "POST /v1/departures/{departure_id}/call-off",
        "POST /v1/departures/{departure_id}/confirm",
        "POST /v1/institutions/{institution_id}/departures",
        "POST /v1/institutions",
    ),
    _WORK: (
        "GET /operations",
        "POST /operations",
        "GET /v1/jobs",
        "GET /v1/jobs/overview",
        "POST /v1/jobs/{job_id}/cancel",
        "POST /v1/jobs/{job_id}/release",
    ),
    _SAID: (
        "GET /v1/alarms",
        "GET /v1/audit",
        "GET /v1/audit/verify",
        "GET /v1/findings",
        "GET /v1/findings/{finding_id}",
        "GET /v1/permits/asked",
        "GET /v1/permits/recalls",
        "GET /v1/permits/{permit_id}/agreement",
        "GET /v1/permits/{permit_id}/quote",
        "GET /v1/why",
        "GET /cite/{version_id}",
        "GET /v1/versions/{version_id}/citation",
        "GET /v1/versions/{version_id}/publications",
        "GET /v1/permits/{permit_id}/publications",
        "POST /v1/permits/{permit_id}/publications",
        "DELETE /v1/permits/{permit_id}/publications/{publication_id}",
        "POST /v1/alarms/{alarm_id}/acknowledge",
        "POST /v1/alarms/{alarm_id}/close",
        "POST /v1/extracts",
        "POST /v1/extracts/{extract_id}/cancel",
        "POST /v1/extracts/{extract_id}/attestation",
        "POST /v1/findings/{finding_id}/accept",
        "POST /v1/findings/{finding_id}/decline",
        "POST /v1/findings/{finding_id}/delivered",
        "POST /v1/findings/{finding_id}/informed",
        "POST /v1/permits/{permit_id}/agreement",
        "POST /v1/permits/{permit_id}/amend",
        "POST /v1/permits/{permit_id}/resume",
        "POST /v1/permits/{permit_id}/revoke",
        "POST /v1/permits/{permit_id}/suspend",
    ),
    _BACK: (
        "GET /v1/returns",
        "GET /v1/returns/{return_id}",
        "POST /v1/extracts/{extract_id}/returns",
        "PUT /v1/returns/{return_id}/tables/{table}",
    ),
    _ASKED: (
        "GET /v1/requests",
        "GET /v1/requests/{request_id}",
        "GET /v1/requests/{request_id}/dummy",
        "POST /v1/requests",
        "POST /v1/requests/{request_id}/claim",
        "POST /v1/requests/{request_id}/decision",
        "POST /v1/requests/{request_id}/return",
        "POST /v1/requests/{request_id}/reviews",
        "POST /v1/requests/{request_id}/submit",
        "POST /v1/requests/{request_id}/withdraw",
        "PUT /v1/requests/{request_id}",
    ),
    _IN: (
        "DELETE /v1/uploads/{upload_id}",
        "GET /v1/uploads/{upload_id}",
        "HEAD /v1/uploads/{upload_id}",
        "OPTIONS /v1/uploads",
        "OPTIONS /v1/uploads/{upload_id}",
        "PATCH /v1/uploads/{upload_id}",
        "POST /v1/uploads",
        "PUT /v1/cohorts/{cohort_id}/consents",
        "PUT /v1/versions/{version_id}/tables/{table}",
    ),
    _HOME: (
        "GET /v1/cohorts",
        "GET /v1/cohorts/{cohort_id}",
        "GET /v1/cohorts/{cohort_id}/datasets",
        "GET /v1/cohorts/{cohort_id}/feeds",
        "GET /v1/cohorts/{cohort_id}/uploads",
        "GET /v1/datasets/{dataset_id}",
        "GET /v1/datasets/{dataset_id}/versions",
        "GET /v1/integrations",
        "GET /v1/integrations/{integration_id}",
        "GET /v1/versions",
        "GET /v1/versions/{version_id}",
        "GET /v1/versions/{version_id}/changes",
        "GET /v1/versions/{version_id}/dictionary",
        "GET /v1/versions/{version_id}/errata",
        "GET /v1/versions/{version_id}/report",
        "POST /v1/cohorts",
        "POST /v1/cohorts/{cohort_id}/consents",
        "POST /v1/cohorts/{cohort_id}/consents/of",
        "POST /v1/cohorts/{cohort_id}/datasets",
        "POST /v1/cohorts/{cohort_id}/feeds/{kind}/empty",
        "POST /v1/cohorts/{cohort_id}/return-tokens",
        "POST /v1/datasets/{dataset_id}/versions",
        "POST /v1/integrations",
        "POST /v1/integrations/{integration_id}/approvals",
        "POST /v1/integrations/{integration_id}/publish",
        "POST /v1/integrations/{integration_id}/reopen",
        "POST /v1/integrations/{integration_id}/submit",
        "POST /v1/integrations/{integration_id}/withdraw",
        "POST /v1/versions/{version_id}/errata",
        "POST /v1/versions/{version_id}/publish",
        "POST /v1/versions/{version_id}/reopen",
        "POST /v1/versions/{version_id}/return",
        "POST /v1/versions/{version_id}/submit",
        "POST /v1/versions/{version_id}/withdraw",
        "PUT /v1/cohorts/{cohort_id}/feeds/{kind}",
        "PUT /v1/integrations/{integration_id}/mapping",
        "PUT /v1/versions/{version_id}/changes",
        "PUT /v1/versions/{version_id}/dictionary",
        "PUT /v1/versions/{version_id}/doi",
        "PUT /v1/datasets/{dataset_id}/creators",
    ),
    _STORY: (
        "GET /v1/cohorts/{cohort_id}/withdrawals",
        "GET /v1/withdrawals",
        "GET /v1/withdrawals/{withdrawal_id}",
        "GET /v1/withdrawals/{withdrawal_id}/receipt",
        "GET /v1/withdrawals/{withdrawal_id}/receipt/page",
        "POST /v1/cohorts/{cohort_id}/withdrawals",
        "POST /v1/withdrawals/{withdrawal_id}/receipt/verify",
    ),
    _LOOKED: (
        "GET /mine",
        "GET /v1/inspections/releases",
        "GET /v1/inspections/releases.csv",
        "POST /mine",
    ),
    _WRONG: (
        "GET /incidents",
        "GET /v1/incidents",
        "GET /v1/incidents/{incident_id}",
        "POST /v1/incidents",
        "POST /v1/incidents/{incident_id}/assess",
        "POST /v1/incidents/{incident_id}/close",
        "POST /v1/incidents/{incident_id}/contain",
        "POST /v1/incidents/{incident_id}/dismiss",
        "POST /v1/incidents/{incident_id}/evidence",
        "POST /v1/incidents/{incident_id}/notify",
        "POST /v1/incidents/{incident_id}/recover",
        "POST /v1/incidents/{incident_id}/thaw",
    ),
}

# The shell is no way out for those who ask over the network; what it copies or reads, and what then holds for it.
SHELL: dict[str, str] = {
    "attack": "reads the parts that a holder has downloaded; no server, no database",
    "backup": "copies the stores for the operator; a restore replays what was withdrawn since before it serves",
    "bootstrap": "makes the platform's client",
    "check-migrations": "reads no data",
    "deid": "works on a file of the caller's own; no server, no database",
    "demo": "asks the public routes, as anybody does",
    "doctor": "looks at the settings, the stores and the database; no row of a person",
    "incident": "ids, times and counts of an incident, for the operator",
    "jobs": "ids, kinds, states and codes of jobs; no row and no number of people",
    "institution": "who takes part, leaves or merges; quotas, quotes, papers of what was released; no row of a person",
    "migrate": "reads no row of a person",
    "backups": "lists what `backup` wrote, and reads digests",
    "restore": "puts a backup back and replays the journal of withdrawals before anything is served",
    "rewrap": "wraps keys anew; no key is told, and no row is read",
    "serve": "the routes above",
    "trace": "reads a file that is out already; tells projects and counts, no person and no pseudonym",
    "variables": "finds what `GET /v1/catalog/variables` finds, masked alike",
    "verify-receipt": "reads a receipt, which names no one",
    "worker": "works off jobs; nothing is asked of it",
}


def routes(app: FastAPI) -> Iterator[str]:
    """`METHOD /path` of every route of an application, however deep it was included."""
    for context in iter_route_contexts(app.routes):
        for method in sorted(context.methods or {"ANY"}):
            yield f"{method} {context.path_format or context.path}"


def undecided(app: FastAPI) -> list[str]:
    """Routes that stand in neither list."""
    known: set[str] = {*WAYS, *(route for quiet in QUIET.values() for route in quiet)}
    return sorted(set(routes(app)) - known)


def gone(app: FastAPI) -> list[str]:
    """Entries that are no route any more, and entries that stand in both lists or twice."""
    listed: list[str] = [*WAYS, *(route for quiet in QUIET.values() for route in quiet)]
    there: set[str] = set(routes(app))
    return sorted({route for route in listed if route not in there or listed.count(route) > 1})


def served() -> FastAPI:
    """All routers of the service in an application that nothing stands behind."""
    from app.main import ROUTERS

    app: Any = FastAPI(docs_url=None, redoc_url=None)
    for module in ROUTERS:
        app.include_router(module.router)
    return app  # type: ignore[no-any-return]
