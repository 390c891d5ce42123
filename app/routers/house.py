"""The services that handlers may call; main builds one house and hangs it into the application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request

from app.alarms.feeds import FeedService
from app.alarms.operating import OperatingService
from app.alarms.service import AlarmService
from app.auth.service import AuthService
from app.catalog.service import CatalogService
from app.citations.service import CitationService
from app.cohorts.returns import ReturnService
from app.cohorts.service import CohortService
from app.cohorts.uploads import UploadService
from app.extracts.links import LinkService
from app.extracts.recalls import RecallService
from app.extracts.service import ExtractService
from app.findings.service import FindingService
from app.incidents.service import IncidentService
from app.institutions.departures import DepartureService
from app.institutions.inspection import InspectionService
from app.institutions.quotas import QuotaService
from app.institutions.staff import StaffService
from app.integrations.service import IntegrationService
from app.requests.holding import PermitService
from app.requests.oversight import OversightService
from app.requests.service import RequestService
from app.routers.handing import NO_PROXY, Proxy
from app.withdrawals.receipts import ReceiptService
from app.withdrawals.service import WithdrawalService
from app.withdrawals.watching import WatchService


@dataclass(frozen=True)
class House:
    """One attribute a room. `db` answers `ping()` and nothing else is asked of it here; `measure` sets the metrics that
    are read from the database; `proxy`: what it sends for us."""

    auth: AuthService
    uploads: UploadService
    cohorts: CohortService
    catalog: CatalogService
    integrations: IntegrationService
    citations: CitationService
    returns: ReturnService
    requests: RequestService
    permits: PermitService
    oversight: OversightService
    extracts: ExtractService
    links: LinkService
    recalls: RecallService
    withdrawals: WithdrawalService
    receipts: ReceiptService
    watch: WatchService
    findings: FindingService
    feeds: FeedService
    alarms: AlarmService
    operating: OperatingService
    incidents: IncidentService
    inspections: InspectionService
    quotas: QuotaService
    staff: StaffService
    departures: DepartureService
    db: Any
    measure: Callable[[], object]
    proxy: Proxy = NO_PROXY


async def house(request: Request) -> House:
    """The house of this application. Async, as every dependency that only looks at the request: a plain one costs a
    hop to a thread, a third of a millisecond."""
    return cast("House", request.app.state.house)
