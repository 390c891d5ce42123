"""Answers about the work of the platform: jobs, workers, alarms, and what is behind. Ages are seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.schemas.api_parts import View

JobState = Literal["waiting", "queued", "running", "failed", "parked", "done", "retried", "cancelled"]


class JobView(View):
    """A job: what it is, how far it is, and why it was given up; ids, codes, steps and counts only."""

    id: str
    kind: str
    rank: int = Field(description="1 goes first.")
    subject: str = Field(description="The id of what it works on.")
    state: JobState
    code: str | None = Field(description="Why it failed or was parked.")
    step: str | None
    tries: int
    deaths: int = Field(description="How many workers ended while it ran.")
    serves_withdrawal: bool = Field(description="It is never cancelled.")
    cancel_asked_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    not_before: datetime | None
    worker: str | None = Field(description="Who runs it.")


class RunningJob(JobView):
    """A job that runs."""

    age: int
    progress: dict[str, int]
    heartbeat_age: int | None = Field(description="Of its worker; null: it is in the process that serves.")


class WaitingJobs(View):
    """The jobs of one kind that wait."""

    rank: int
    kind: str
    count: int
    later: int = Field(description="How many of them wait for another try.")
    oldest_age: int
    serves_withdrawal: bool


class FailedJobs(View):
    """What failed in one way in the last day and is not tried again by itself."""

    kind: str
    code: str
    count: int
    last_at: datetime


class AlarmsOfAKind(View):
    """Alarms that are not closed."""

    level: str
    kind: str
    state: str
    count: int
    oldest_age: int


class WorkerView(View):
    """A worker; `silent`: it has given no sign of life for long enough to be taken for dead."""

    id: str
    state: Literal["alive", "silent", "dead"]
    heartbeat_age: int
    started_at: datetime


class OpenWithdrawals(View):
    """Withdrawals in one state that are not closed."""

    state: str
    count: int
    oldest_age: int


class Overview(View):
    """The work of the platform at one moment."""

    at: datetime
    waiting: list[WaitingJobs]
    running: list[RunningJob]
    parked: list[JobView]
    failed: list[FailedJobs]
    alarms: list[AlarmsOfAKind]
    workers: list[WorkerView] = Field(description="None: the process that serves works itself.")
    backup_age: int | None = Field(description="Of the newest backup; null: there is none.")
    withdrawals: list[OpenWithdrawals]
    epoch_lag: int = Field(
        description="Age of the oldest withdrawal whose parts are not singled out yet in some extract."
    )
