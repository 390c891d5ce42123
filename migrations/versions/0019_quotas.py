"""quotas.

Revision 0019, after 0018.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "quotas",
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.String(length=120), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", "name", name=op.f("pk_quotas")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("quotas")
