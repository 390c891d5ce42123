"""What a restored database must not believe: that workers of before still hold its jobs."""

from __future__ import annotations

from sqlalchemy import Connection, delete, update

from app.models import Job, Worker


def begin_again(connection: Connection) -> None:
    """Jobs that were handed over wait again: the engine that had them is gone, and so are the workers."""
    connection.execute(update(Job).where(Job.state.in_(("queued", "running"))).values(state="waiting"))
    connection.execute(delete(Worker))
