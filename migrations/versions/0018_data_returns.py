"""Returned data.

Revision 0018, after 0017.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_POINTS_AT = {
    "dataset_id": "datasets",
    "version_id": "dataset_versions",
    "cohort_id": "cohorts",
    "extract_id": "extracts",
    "permit_id": "permits",
    "project_id": "projects",
    "source_version_id": "dataset_versions",
}


def upgrade() -> None:
    """Apply."""
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.create_table(
        "data_returns",
        sa.Column("id", sa.String(length=40), nullable=False),
        *(sa.Column(name, sa.String(length=40), nullable=False) for name in _POINTS_AT),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("purpose", json, nullable=False),
        sa.Column("domains", json, nullable=False),
        sa.Column("returned_by", sa.String(length=120), nullable=False),
        sa.Column("returned_at", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.ForeignKeyConstraint([name], [f"{table}.id"], name=op.f(f"fk_data_returns_{name}_{table}"))
            for name, table in _POINTS_AT.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_returns")),
        sa.UniqueConstraint("dataset_id", name=op.f("uq_data_returns_dataset_id")),
    )
    for name in ("cohort_id", "extract_id", "returned_by"):
        op.create_index(op.f(f"ix_data_returns_{name}"), "data_returns", [name])


def downgrade() -> None:
    """Undo."""
    op.drop_table("data_returns")
