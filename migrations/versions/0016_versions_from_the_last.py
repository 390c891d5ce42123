"""Versions share what is the same in both: tables of several objects, what a draft was made from, permits that follow.

Revision 0016, after 0015.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "vault_segments",
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("table_name", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("object_name", sa.String(length=200), nullable=False),
        sa.Column("left_out_name", sa.String(length=200), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("left_out", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("upload_id", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name=op.f("fk_vault_segments_upload_id_uploads")
        ),
        sa.ForeignKeyConstraint(
            ["version_id", "table_name", "generation"],
            ["vault_tables.version_id", "vault_tables.table_name", "vault_tables.generation"],
            name="fk_vault_segments_table",
        ),
        sa.PrimaryKeyConstraint(
            "version_id", "table_name", "generation", "position", name=op.f("pk_vault_segments")
        ),
    )
    with op.batch_alter_table("vault_segments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vault_segments_object_name"), ["object_name"], unique=False)

    with op.batch_alter_table("dataset_versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("made_from", sa.String(length=40), nullable=True))
        batch_op.add_column(
            sa.Column("stated", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True)
        )
        batch_op.create_index(batch_op.f("ix_dataset_versions_made_from"), ["made_from"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_dataset_versions_made_from_dataset_versions"),
            "dataset_versions",
            ["made_from"],
            ["id"],
        )

    with op.batch_alter_table("permits", schema=None) as batch_op:
        batch_op.add_column(sa.Column("follow", sa.Boolean(), server_default=sa.false(), nullable=False))

    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.add_column(sa.Column("mode", sa.String(length=10), server_default="replace", nullable=False))
        batch_op.add_column(
            sa.Column("partition", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True)
        )

    with op.batch_alter_table("vault_tables", schema=None) as batch_op:
        batch_op.alter_column("object_name", existing_type=sa.VARCHAR(length=200), nullable=True)


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("vault_tables", schema=None) as batch_op:
        batch_op.alter_column("object_name", existing_type=sa.VARCHAR(length=200), nullable=False)

    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_column("partition")
        batch_op.drop_column("mode")

    with op.batch_alter_table("permits", schema=None) as batch_op:
        batch_op.drop_column("follow")

    with op.batch_alter_table("dataset_versions", schema=None) as batch_op:
        batch_op.drop_constraint(
            batch_op.f("fk_dataset_versions_made_from_dataset_versions"), type_="foreignkey"
        )
        batch_op.drop_index(batch_op.f("ix_dataset_versions_made_from"))
        batch_op.drop_column("stated")
        batch_op.drop_column("made_from")

    with op.batch_alter_table("vault_segments", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vault_segments_object_name"))

    op.drop_table("vault_segments")
