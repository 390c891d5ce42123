"""who runs a job.

Revision 0028, after 0027.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("worker", sa.String(length=80), nullable=True))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("worker")
