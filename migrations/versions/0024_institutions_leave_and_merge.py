"""Institutions leave and merge.

Revision 0024, after 0023.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("institutions") as table:
        table.add_column(sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
        table.add_column(sa.Column("successor_id", sa.String(length=40), nullable=True))
        table.create_foreign_key(
            op.f("fk_institutions_successor_id_institutions"), "institutions", ["successor_id"], ["id"]
        )
    with op.batch_alter_table("cohorts") as table:
        table.add_column(sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "departures",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("institution_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("successor_id", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("on", sa.Date(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("declared_by", sa.String(length=120), nullable=False),
        sa.Column("declared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_by", sa.String(length=120), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("carried_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [name], ["institutions.id"], name=op.f(f"fk_departures_{name}_institutions")
            )
            for name in ("institution_id", "successor_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_departures")),
    )
    for name in ("institution_id", "successor_id", "state"):
        op.create_index(op.f(f"ix_departures_{name}"), "departures", [name])
    op.create_table(
        "custodies",
        sa.Column("cohort_id", sa.String(length=40), nullable=False),
        sa.Column("institution_id", sa.String(length=40), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["cohort_id"], ["cohorts.id"], name=op.f("fk_custodies_cohort_id_cohorts")),
        sa.ForeignKeyConstraint(
            ["institution_id"], ["institutions.id"], name=op.f("fk_custodies_institution_id_institutions")
        ),
        sa.PrimaryKeyConstraint("cohort_id", "institution_id", name=op.f("pk_custodies")),
    )
    op.create_index(op.f("ix_custodies_institution_id"), "custodies", ["institution_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("custodies")
    op.drop_table("departures")
    with op.batch_alter_table("cohorts") as table:
        table.drop_column("ended_at")
    with op.batch_alter_table("institutions") as table:
        table.drop_constraint(op.f("fk_institutions_successor_id_institutions"), type_="foreignkey")
        table.drop_column("successor_id")
        table.drop_column("closed_at")
