"""Jobs are rows: they commit with the change that needs them, and a relay hands them to the durable engine."""

from app.jobs.rows import MUST_END, JobContext, Task, enqueue, execute, order, requeue_failed, view

__all__ = ["MUST_END", "JobContext", "Task", "enqueue", "execute", "order", "requeue_failed", "view"]
