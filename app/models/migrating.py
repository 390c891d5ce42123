"""Bring a database up to the models' newest migration, and tell whether migrations and models are in step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.db import Database
from app.models import Base

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


def upgrade(db: Database, revision: str = "head") -> None:
    """Apply every migration that the database lacks."""
    with db.migration() as connection:
        upgrade_on(connection, revision)


def upgrade_on(connection: Connection, revision: str) -> None:
    """The same within a transaction that is open already."""
    command.upgrade(_config(connection), revision)


def downgrade(db: Database, revision: str) -> None:
    """Undo migrations down to a revision."""
    with db.migration() as connection:
        command.downgrade(_config(connection), revision)


def is_current(db: Database) -> bool:
    """Whether the database has every migration."""
    with db.engine.connect() as connection:
        held = MigrationContext.configure(connection).get_current_heads()
    return set(held) == set(ScriptDirectory.from_config(_config(None)).get_heads())


def differences(db: Database) -> list[Any]:
    """What a new migration would have to do for the database to match the models; empty where they are in step."""
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def write_revision(db: Database, message: str, number: str) -> None:
    """Write a new migration from the difference between the models and the database."""
    with db.migration() as connection:
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=number)


def _config(connection: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    return config
