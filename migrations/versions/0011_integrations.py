"""Integrations, what each holder says of them, and whom a project knows as one person.

Revision 0011, after 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "integrations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("institution_id", sa.String(length=40), nullable=False),
        sa.Column("dataset_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("mapping", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("mapping_digest", sa.String(length=64), nullable=True),
        sa.Column("report", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("version_id", sa.String(length=40), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_integrations_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(
            ["institution_id"], ["institutions.id"], name=op.f("fk_integrations_institution_id_institutions")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["dataset_versions.id"], name=op.f("fk_integrations_version_id_dataset_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_integrations")),
        sa.UniqueConstraint("dataset_id", "number", name=op.f("uq_integrations_dataset_id_number")),
        sa.UniqueConstraint("version_id", name=op.f("uq_integrations_version_id")),
    )
    with op.batch_alter_table("integrations") as batch_op:
        batch_op.create_index(batch_op.f("ix_integrations_institution_id"), ["institution_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_integrations_state"), ["state"], unique=False)

    op.create_table(
        "integration_approvals",
        sa.Column("integration_id", sa.String(length=40), nullable=False),
        sa.Column("institution_id", sa.String(length=40), nullable=False),
        sa.Column("mapping_digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("by", sa.String(length=120), nullable=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["institution_id"],
            ["institutions.id"],
            name=op.f("fk_integration_approvals_institution_id_institutions"),
        ),
        sa.ForeignKeyConstraint(
            ["integration_id"],
            ["integrations.id"],
            name=op.f("fk_integration_approvals_integration_id_integrations"),
        ),
        sa.PrimaryKeyConstraint("integration_id", "institution_id", name=op.f("pk_integration_approvals")),
    )
    with op.batch_alter_table("integration_approvals") as batch_op:
        batch_op.create_index(
            batch_op.f("ix_integration_approvals_institution_id"), ["institution_id"], unique=False
        )

    op.create_table(
        "linked_people",
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("participant_key", sa.Integer(), nullable=False),
        sa.Column("seed", sa.LargeBinary(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_key"],
            ["participants.key"],
            name=op.f("fk_linked_people_participant_key_participants"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_linked_people_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("project_id", "participant_key", name=op.f("pk_linked_people")),
    )
    with op.batch_alter_table("recall_notices") as batch_op:
        batch_op.add_column(sa.Column("source", sa.String(length=40), nullable=True))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("recall_notices") as batch_op:
        batch_op.drop_column("source")

    op.drop_table("linked_people")
    with op.batch_alter_table("integration_approvals") as batch_op:
        batch_op.drop_index(batch_op.f("ix_integration_approvals_institution_id"))

    op.drop_table("integration_approvals")
    with op.batch_alter_table("integrations") as batch_op:
        batch_op.drop_index(batch_op.f("ix_integrations_state"))
        batch_op.drop_index(batch_op.f("ix_integrations_institution_id"))

    op.drop_table("integrations")
