"""Permits that follow, and the version that their steward is asked about; errata, and recalls that they bring.

Revision 0021, after 0020.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("permits", schema=None) as batch_op:
        batch_op.add_column(sa.Column("asked_version", sa.String(length=40), nullable=True))
    op.create_table(
        "errata",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("cohort_id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("corrects", sa.String(length=40), nullable=False),
        sa.Column("tables", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("by", sa.String(length=120), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cohort_id"], ["cohorts.id"], name=op.f("fk_errata_cohort_id_cohorts")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["dataset_versions.id"], name=op.f("fk_errata_version_id_dataset_versions")
        ),
        sa.ForeignKeyConstraint(
            ["corrects"], ["dataset_versions.id"], name=op.f("fk_errata_corrects_dataset_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_errata")),
    )
    with op.batch_alter_table("errata") as batch_op:
        for column in ("cohort_id", "version_id", "corrects"):
            batch_op.create_index(batch_op.f(f"ix_errata_{column}"), [column], unique=False)
    with op.batch_alter_table("recall_notices") as batch_op:
        batch_op.alter_column("withdrawal_id", existing_type=sa.String(length=40), nullable=True)
        batch_op.add_column(sa.Column("erratum_id", sa.String(length=40), nullable=True))
        batch_op.create_index(batch_op.f("ix_recall_notices_erratum_id"), ["erratum_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_recall_notices_erratum_id_errata"), "errata", ["erratum_id"], ["id"]
        )


def downgrade() -> None:
    """Undo."""
    op.execute("DELETE FROM recall_notices WHERE withdrawal_id IS NULL")
    with op.batch_alter_table("recall_notices") as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_recall_notices_erratum_id_errata"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_recall_notices_erratum_id"))
        batch_op.drop_column("erratum_id")
        batch_op.alter_column("withdrawal_id", existing_type=sa.String(length=40), nullable=False)
    op.drop_table("errata")
    with op.batch_alter_table("permits", schema=None) as batch_op:
        batch_op.drop_column("asked_version")
