"""From an upload to a table in the vault: read, check, key, cluster, write."""

from app.engines.intake.arrival import Bounds
from app.engines.intake.register import Hashes, RegisterReader
from app.engines.intake.register_checks import Ages
from app.engines.intake.report import Kept, TableReport
from app.engines.intake.session import Intake, IntakeEngine, IntakeLimits, Parent
from app.engines.intake.whole import definition

__all__ = [
    "Ages", "Bounds", "Hashes", "Intake", "IntakeEngine", "IntakeLimits", "Kept", "Parent", "RegisterReader",
    "TableReport", "definition",
]  # fmt: skip
