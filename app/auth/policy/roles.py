"""The scopes of the API, the most that a token of each role holds, and who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Role = Literal["platform", "institution", "steward", "researcher", "inspector"]


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
    INCIDENTS_MANAGE = "incidents:manage"
    INCIDENTS_REPORT = "incidents:report"
    INSPECTIONS_READ = "inspections:read"
    PERMITS_MANAGE = "permits:manage"
    PLATFORM_ADMIN = "platform:admin"
    REQUESTS_REVIEW = "requests:review"
    REQUESTS_WRITE = "requests:write"
    UPLOADS_WRITE = "uploads:write"


# The most that any token of a role can hold. Nobody has both ends of a decision: who asks never reviews, who holds
# the data never publishes it, who runs the platform reads neither data nor extracts.
ROLE_SCOPES: dict[str, frozenset[Scope]] = {
    "platform": frozenset(
        {
            Scope.AUDIT_READ, Scope.CATALOG_READ, Scope.INCIDENTS_MANAGE, Scope.INCIDENTS_REPORT, Scope.PLATFORM_ADMIN,
        }
    ),
    "institution": frozenset(
        {
            Scope.AUDIT_READ, Scope.CATALOG_READ, Scope.COHORTS_READ, Scope.COHORTS_WRITE, Scope.CONSENTS_WRITE,
            Scope.INCIDENTS_MANAGE, Scope.INCIDENTS_REPORT, Scope.UPLOADS_WRITE,
        }
    ),
    "inspector": frozenset({Scope.AUDIT_READ, Scope.INSPECTIONS_READ}),
    "steward": frozenset(
        {
            Scope.AUDIT_READ, Scope.CATALOG_READ, Scope.COHORTS_READ, Scope.DATASETS_PUBLISH,
            Scope.INCIDENTS_MANAGE, Scope.INCIDENTS_REPORT, Scope.PERMITS_MANAGE, Scope.REQUESTS_REVIEW,
        }
    ),
    "researcher": frozenset(
        {
            Scope.CATALOG_READ, Scope.EXTRACTS_READ, Scope.EXTRACTS_WRITE, Scope.INCIDENTS_REPORT,
            Scope.REQUESTS_WRITE,
        }
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Credential:
    """The token that somebody asks with: its id, the id of its refresh family, and its times (seconds since 1970)."""

    jti: str
    family: str | None
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `subject` is `client:<id>` or `account:<id>`; a steward without an institution serves all of them.
    `by`: what they ask with; no rule looks at it."""

    subject: str
    client_id: str
    role: Role
    institution_id: str | None
    scopes: frozenset[str]
    by: Credential | None = field(default=None, compare=False)
