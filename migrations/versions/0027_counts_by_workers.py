"""counts by workers, and keys of projects that a worker makes.

Revision 0027, after 0026.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    json = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
    op.create_table(
        "count_orders",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("asker", sa.String(length=120), nullable=False),
        sa.Column("client_id", sa.String(length=120), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("institution_id", sa.String(), nullable=True),
        sa.Column("question", json, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("answer", json, nullable=True),
        sa.Column("headers", json, nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["institution_id"], ["institutions.id"], name=op.f("fk_count_orders_institution_id_institutions")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["dataset_versions.id"], name=op.f("fk_count_orders_version_id_dataset_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_count_orders")),
    )
    with op.batch_alter_table("count_orders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_count_orders_at"), ["at"], unique=False)
    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.alter_column("key_wrapped", existing_type=sa.LargeBinary(), nullable=True)


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.alter_column("key_wrapped", existing_type=sa.LargeBinary(), nullable=False)
    with op.batch_alter_table("count_orders", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_count_orders_at"))
    op.drop_table("count_orders")
