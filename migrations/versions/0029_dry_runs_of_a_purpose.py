"""dry runs of a purpose.

Revision 0029, after 0028.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of runs from before nothing is known: a request that waits for its decision is run dry once more. One that
    was approved on conditions is not decided, nor where it was returned since."""
    with op.batch_alter_table("dry_runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("purpose_digest", sa.String(length=64), nullable=True))
    op.execute(
        "UPDATE access_requests SET decided_at = NULL "
        "WHERE state IN ('draft', 'submitted', 'in_review', 'returned', 'conditionally_approved')"
    )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("dry_runs", schema=None) as batch_op:
        batch_op.drop_column("purpose_digest")
