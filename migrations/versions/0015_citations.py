"""Identifiers of people, institutions and versions; publications of projects.

Revision 0015, after 0014.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("institutions") as table:
        table.add_column(sa.Column("ror", sa.String(length=9), nullable=True))
    with op.batch_alter_table("accounts") as table:
        table.add_column(sa.Column("orcid", sa.String(length=19), nullable=True))
    with op.batch_alter_table("datasets") as table:
        table.add_column(
            sa.Column(
                "creators", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False, server_default="[]"
            )
        )
    with op.batch_alter_table("dataset_versions") as table:
        table.add_column(sa.Column("doi", sa.String(length=200), nullable=True))
        table.create_unique_constraint(op.f("uq_dataset_versions_doi"), ["doi"])
    op.create_table(
        "publications",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("permit_id", sa.String(length=40), nullable=False),
        sa.Column("doi", sa.String(length=200), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("reported_by", sa.String(length=120), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["permit_id"], ["permits.id"], name=op.f("fk_publications_permit_id_permits")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_publications_project_id_projects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publications")),
        sa.UniqueConstraint("project_id", "doi", name=op.f("uq_publications_project_id_doi")),
    )
    op.create_index(op.f("ix_publications_permit_id"), "publications", ["permit_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("publications")
    with op.batch_alter_table("dataset_versions") as table:
        table.drop_constraint(op.f("uq_dataset_versions_doi"), type_="unique")
        table.drop_column("doi")
    with op.batch_alter_table("datasets") as table:
        table.drop_column("creators")
    with op.batch_alter_table("accounts") as table:
        table.drop_column("orcid")
    with op.batch_alter_table("institutions") as table:
        table.drop_column("ror")
