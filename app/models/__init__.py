"""Every table of the database, by noun."""

from app.models.alarms import Alarm, Feed
from app.models.audit import AuditHead, AuditLine
from app.models.base import Base, Utc
from app.models.cohorts import Cohort, Consent, ConsentChange, Participant, PersonChange, PlatformKey
from app.models.counting import CountOrder
from app.models.datasets import (
    Dataset,
    DatasetVersion,
    Erratum,
    Upload,
    VaultSegment,
    VaultTable,
    VersionSource,
)
from app.models.extracts import BlockMark, CountAnswer, Extract, LedgerChunk, Part, Recoding
from app.models.figures import DailyFigures, ShownFigures
from app.models.findings import Finding
from app.models.identities import Account, AuthorizationCode, Client, RefreshToken, SigningKey, UsedToken
from app.models.incidents import Freeze, Incident, IncidentParty
from app.models.institutions import Custody, Departure, Institution
from app.models.integrations import Integration, IntegrationApproval, LinkedPerson
from app.models.jobs import IdempotentAnswer, Job, Worker
from app.models.publications import Publication
from app.models.quotas import Quota
from app.models.requests import AccessRequest, DryRun, Permit, Project, Review
from app.models.returns import DataReturn
from app.models.variables import Variable, VariableIndex, VariableVersion
from app.models.withdrawals import Destruction, RecallNotice, Withdrawal

__all__ = [
    "AccessRequest",
    "Account",
    "Alarm",
    "AuditHead",
    "AuditLine",
    "AuthorizationCode",
    "Base",
    "BlockMark",
    "Client",
    "Cohort",
    "Consent",
    "ConsentChange",
    "CountAnswer",
    "CountOrder",
    "Custody",
    "DailyFigures",
    "DataReturn",
    "Dataset",
    "DatasetVersion",
    "Departure",
    "Destruction",
    "DryRun",
    "Erratum",
    "Extract",
    "Feed",
    "Finding",
    "Freeze",
    "IdempotentAnswer",
    "Incident",
    "IncidentParty",
    "Institution",
    "Integration",
    "IntegrationApproval",
    "Job",
    "LedgerChunk",
    "LinkedPerson",
    "Part",
    "Participant",
    "Permit",
    "PersonChange",
    "PlatformKey",
    "Project",
    "Publication",
    "Quota",
    "RecallNotice",
    "Recoding",
    "RefreshToken",
    "Review",
    "ShownFigures",
    "SigningKey",
    "UsedToken",
    "Upload",
    "Utc",
    "Variable",
    "VariableIndex",
    "VariableVersion",
    "VaultSegment",
    "VaultTable",
    "VersionSource",
    "Withdrawal",
    "Worker",
]
