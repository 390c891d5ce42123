"""The jobs of cohorts, by their kind."""

from __future__ import annotations

from app.cohorts.destruction import DestructionService
from app.cohorts.intake import IntakeService
from app.cohorts.validation import ValidationService
from app.jobs import Task


def tasks(
    intake: IntakeService, validation: ValidationService, destruction: DestructionService
) -> dict[str, Task]:
    """What each kind of job runs."""
    return {
        "check_upload": intake.check_upload,
        "submit_version": validation.submit_version,
        "destroy_rows": destruction.destroy_rows,
    }
