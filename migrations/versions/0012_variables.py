"""The catalogue's index of variables.

Revision 0012, after 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. The index is empty: a chore hands every version that is published to a job."""
    op.create_table(
        "variables",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("table_name", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("by_name", sa.String(), nullable=False),
        sa.Column("by_label", sa.String(), nullable=False),
        sa.Column("by_code", sa.String(), nullable=False),
        sa.Column("by_concept", sa.String(), nullable=False),
        sa.Column("about", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_variables_dataset_id_datasets")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variables")),
        sa.UniqueConstraint(
            "dataset_id",
            "table_name",
            "name",
            "digest",
            name=op.f("uq_variables_dataset_id_table_name_name_digest"),
        ),
    )
    op.create_index("ix_variables_key_id", "variables", ["key", "id"])
    op.create_table(
        "variable_versions",
        sa.Column("variable_id", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("people", sa.Integer(), nullable=True),
        sa.Column("filled", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["variable_id"], ["variables.id"], name=op.f("fk_variable_versions_variable_id_variables")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["dataset_versions.id"],
            name=op.f("fk_variable_versions_version_id_dataset_versions"),
        ),
        sa.PrimaryKeyConstraint("variable_id", "version_id", name=op.f("pk_variable_versions")),
    )
    op.create_index(op.f("ix_variable_versions_version_id"), "variable_versions", ["version_id"])
    op.create_table(
        "variable_indexes",
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["dataset_versions.id"],
            name=op.f("fk_variable_indexes_version_id_dataset_versions"),
        ),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_variable_indexes")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("variable_indexes")
    op.drop_table("variable_versions")
    op.drop_table("variables")
