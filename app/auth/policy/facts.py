"""What a rule needs to know of an object: whose it is, and its state where that matters."""

from __future__ import annotations

from dataclasses import dataclass

PUBLISHED = frozenset({"published"})
CITED = frozenset({"published", "superseded"})


@dataclass(frozen=True, slots=True)
class InstitutionFacts:
    """An institution."""

    institution_id: str


@dataclass(frozen=True, slots=True)
class DepartureFacts:
    """That an institution leaves, or goes over into its successor; who declared it (a subject)."""

    institution_id: str
    successor_id: str | None = None
    declared_by: str | None = None


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
    """An upload into a version of the institution, or of data that somebody returns to it."""

    institution_id: str
    returned_by: str | None = None


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
class IncidentFacts:
    """An incident: who reported it (a subject), and the institutions whose data it touches."""

    reporter: str
    institutions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What an incident names or freezes: its kind, its holder (a subject), the institutions that hold its data."""

    kind: str
    holder: str | None = None
    institutions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """An audit stream: the platform's (both None), an institution's, or a project's (with its holder)."""

    institution_id: str | None = None
    holder: str | None = None
    also: tuple[str, ...] = ()
