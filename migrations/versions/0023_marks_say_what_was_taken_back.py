"""Marks say what was taken back, and since when their extract is without the person.

Revision 0023, after 0022.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MARKS = sa.table(
    "block_marks", sa.column("extract_id", sa.String), sa.column("withdrawal_id", sa.String),
    sa.column("told_at", sa.DateTime(timezone=True)),
)  # fmt: skip
WITHDRAWALS = sa.table("withdrawals", sa.column("id", sa.String), sa.column("state", sa.String))
LINES = sa.table(
    "audit_lines", sa.column("event", sa.String), sa.column("object_id", sa.String), sa.column("data", JSON),
    sa.column("at", sa.DateTime(timezone=True)),
)  # fmt: skip


def upgrade() -> None:
    """Apply. What is on its way and was told already is not told again."""
    with op.batch_alter_table("block_marks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("domains", JSON, nullable=True))
        batch_op.add_column(sa.Column("told_at", sa.DateTime(timezone=True), nullable=True))
    connection = op.get_bind()
    marks = sa.select(MARKS.c.extract_id, MARKS.c.withdrawal_id).join(
        WITHDRAWALS, WITHDRAWALS.c.id == MARKS.c.withdrawal_id
    )
    on_their_way: dict[str, set[str]] = {}
    for extract_id, withdrawal_id in connection.execute(marks.where(WITHDRAWALS.c.state != "closed")):
        on_their_way.setdefault(extract_id, set()).add(withdrawal_id)
    for extract_id, withdrawals in sorted(on_their_way.items()):
        lines = sa.select(LINES.c.at, LINES.c.data).where(
            LINES.c.event == "recall.settled", LINES.c.object_id == extract_id
        )
        told: dict[str, Any] = {data["withdrawal"]: at for at, data in connection.execute(lines)}
        for withdrawal_id in sorted(withdrawals & told.keys()):
            connection.execute(
                sa.update(MARKS)
                .where(MARKS.c.extract_id == extract_id, MARKS.c.withdrawal_id == withdrawal_id)
                .values(told_at=told[withdrawal_id])
            )


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("block_marks", schema=None) as batch_op:
        batch_op.drop_column("told_at")
        batch_op.drop_column("domains")
