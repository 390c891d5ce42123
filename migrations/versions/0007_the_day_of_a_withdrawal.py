"""The day of a withdrawal: a consent that was withdrawn without one is given the day on which it was written.

Revision 0007, after 0006.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Whoever is to be granted again needs a word that is later than this day.
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    day = "CAST(changed_at AT TIME ZONE 'UTC' AS DATE)" if on_postgresql else "date(changed_at)"
    op.execute(f"UPDATE consents SET given_at = {day} WHERE state = 'withdrawn' AND given_at IS NULL")


def downgrade() -> None:
    """Undo: the days are true, so they stay."""
