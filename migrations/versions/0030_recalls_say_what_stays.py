"""recalls say what stays.

Revision 0030, after 0029.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Recalls from before count as of everything, as they did."""
    with op.batch_alter_table("recall_notices", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stays", sa.String(length=20), server_default="", nullable=False))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("recall_notices", schema=None) as batch_op:
        batch_op.drop_column("stays")
