"""What an upload is to be, and whether its target takes it: a table of a version, or a cohort's consent register."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from app.auth import policy
from app.cohorts import upload_queries as queries
from app.cohorts.upload_states import TAKES_UPLOADS
from app.errors import Finding, Problem, not_found
from app.models import Cohort, DatasetVersion


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an upload is to be: a table of a version, or the consent register of a cohort; `length` in bytes."""

    purpose: Literal["table", "consents"]
    length: int
    version_id: str = ""
    table: str = ""
    cohort_id: str = ""


def target(session: Session, actor: policy.Actor, wanted: Wanted) -> Cohort:
    """The cohort an upload would go to, when the actor may and the target takes it."""
    if wanted.purpose == "consents":
        cohort = session.get(Cohort, wanted.cohort_id)
        if cohort is None:
            raise not_found("cohort")
        policy.must_change_consents(actor, policy.CohortFacts(institution_id=cohort.institution_id))
        must_hold_consents_scope(actor)
        return cohort
    found = queries.version_and_cohort(session, wanted.version_id)
    if found is None:
        raise not_found("dataset version")
    version, cohort = found
    facts = policy.VersionFacts(institution_id=cohort.institution_id, state=version.state)
    policy.must_change_version(actor, facts)
    _must_take(version, wanted.table)
    return cohort


def _must_take(version: DatasetVersion, table: str) -> None:
    if version.state not in TAKES_UPLOADS:
        states = " or ".join(sorted(TAKES_UPLOADS))
        raise Problem(
            "version_not_ready", f"The version is {version.state}; tables go to one that is {states}."
        )
    if version.dictionary is None:
        raise Problem("version_not_ready", "The version has no dictionary yet, so nothing could be checked.")
    known = [str(t["name"]) for t in version.dictionary["tables"]]
    if table not in known:
        near = tuple(difflib.get_close_matches(table, known, n=3))
        finding = Finding("unknown_table", "The dictionary has no such table.", near=near, pointer="/table")
        raise Problem("invalid_request", "The table is not in the version's dictionary.", [finding])


def must_hold_consents_scope(actor: policy.Actor) -> None:
    """Refuse a token that may upload tables but not consents."""
    if "consents:write" not in actor.scopes:
        raise Problem("insufficient_scope", "The consent register needs the scope consents:write.")
