"""From an upload to a table in the vault: read, check, key, cluster, write."""

from app.engines.intake.arrival import Bounds
from app.engines.intake.differences import Moved, TableChange
from app.engines.intake.onto import Onto, Partition
from app.engines.intake.parents import Before, Parent
from app.engines.intake.register import Hashes, RegisterReader
from app.engines.intake.register_checks import Ages
from app.engines.intake.report import Kept, TableReport
from app.engines.intake.session import Intake, IntakeEngine, IntakeLimits
from app.engines.intake.whole import definition, goes_on_from

__all__ = [
    "Ages", "Before", "Bounds", "Hashes", "Intake", "IntakeEngine", "IntakeLimits", "Kept", "Moved", "Onto", "Parent",
    "Partition", "RegisterReader", "TableChange", "TableReport", "definition", "goes_on_from",
]  # fmt: skip
