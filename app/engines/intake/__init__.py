"""From an upload to a table in the vault: read, check, key, cluster, write."""

from app.engines.intake.arrival import Bounds
from app.engines.intake.report import Kept, TableReport
from app.engines.intake.session import Intake, IntakeEngine, IntakeLimits, Parent
from app.engines.intake.whole import definition

__all__ = ["Bounds", "Intake", "IntakeEngine", "IntakeLimits", "Kept", "Parent", "TableReport", "definition"]
