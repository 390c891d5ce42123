"""Alembic's way into our models: the same migrations on SQLite and PostgreSQL, on a connection that is handed in."""

from __future__ import annotations

from typing import Any

from alembic import context
from alembic.autogenerate.api import AutogenContext

from app.models import Base, Utc

connection = context.config.attributes["connection"]
if connection is None:
    raise SystemExit("run migrations by `make migrate`, which hands in the connection")


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | bool:
    """Our own types are written as what they are in the database, so that a migration outlives our code."""
    if kind == "type" and isinstance(item, Utc):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and item.__class__.__name__ == "JSON":
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def wait_briefly(dialect: str) -> None:
    """A migration that cannot have its lock in ten seconds gives up instead of queueing everybody behind itself."""
    if dialect == "postgresql":
        connection.exec_driver_sql("SET lock_timeout = '10s'")


context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    wait_briefly(connection.dialect.name)
    context.run_migrations()
