"""United versions: their sources; what asks for one has no cohort of its own; each institution's boards answer.

Revision 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "version_sources",
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("source_version_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_version_id"],
            ["dataset_versions.id"],
            name=op.f("fk_version_sources_source_version_id_dataset_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["dataset_versions.id"],
            name=op.f("fk_version_sources_version_id_dataset_versions"),
        ),
        sa.PrimaryKeyConstraint("version_id", "source_version_id", name=op.f("pk_version_sources")),
        sa.UniqueConstraint("version_id", "name", name=op.f("uq_version_sources_version_id_name")),
    )
    with op.batch_alter_table("version_sources") as batch_op:
        batch_op.create_index(
            batch_op.f("ix_version_sources_source_version_id"), ["source_version_id"], unique=False
        )

    with op.batch_alter_table("access_requests") as batch_op:
        batch_op.alter_column("cohort_id", existing_type=sa.VARCHAR(length=40), nullable=True)

    with op.batch_alter_table("datasets") as batch_op:
        batch_op.alter_column("cohort_id", existing_type=sa.VARCHAR(length=40), nullable=True)

    with op.batch_alter_table("permits") as batch_op:
        batch_op.alter_column("cohort_id", existing_type=sa.VARCHAR(length=40), nullable=True)

    with op.batch_alter_table("reviews") as batch_op:
        batch_op.add_column(
            sa.Column("institution_id", sa.String(length=40), server_default="", nullable=False)
        )
        batch_op.drop_constraint(batch_op.f("uq_reviews_request_id_board"), type_="unique")
        batch_op.create_unique_constraint(
            batch_op.f("uq_reviews_request_id_board_institution_id"),
            ["request_id", "board", "institution_id"],
        )


def downgrade() -> None:
    """Undo; refused by the database while anything united is left."""
    with op.batch_alter_table("reviews") as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_reviews_request_id_board_institution_id"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_reviews_request_id_board"), ["request_id", "board"])
        batch_op.drop_column("institution_id")

    with op.batch_alter_table("permits") as batch_op:
        batch_op.alter_column("cohort_id", existing_type=sa.VARCHAR(length=40), nullable=False)

    with op.batch_alter_table("datasets") as batch_op:
        batch_op.alter_column("cohort_id", existing_type=sa.VARCHAR(length=40), nullable=False)

    with op.batch_alter_table("access_requests") as batch_op:
        batch_op.alter_column("cohort_id", existing_type=sa.VARCHAR(length=40), nullable=False)

    with op.batch_alter_table("version_sources") as batch_op:
        batch_op.drop_index(batch_op.f("ix_version_sources_source_version_id"))

    op.drop_table("version_sources")
