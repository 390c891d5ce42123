"""Jobs are rows: they commit with the change that needs them, and a relay hands them to the durable engine."""

from app.jobs.enqueuing import enqueue
from app.jobs.kinds import MUST_END
from app.jobs.parking import Rules, held_up
from app.jobs.rows import JobContext, Task, execute, order, requeue_failed, view

__all__ = [
    "MUST_END",
    "JobContext",
    "Rules",
    "Task",
    "enqueue",
    "execute",
    "held_up",
    "order",
    "requeue_failed",
    "view",
]
