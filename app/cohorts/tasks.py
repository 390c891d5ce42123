"""The jobs of cohorts, by their kind."""

from __future__ import annotations

from app.cohorts.intake import IntakeService
from app.cohorts.validation import ValidationService
from app.jobs import Task


def tasks(intake: IntakeService, validation: ValidationService) -> dict[str, Task]:
    """What each kind of job runs."""
    return {"check_upload": intake.check_upload, "submit_version": validation.submit_version}
