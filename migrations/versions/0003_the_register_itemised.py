"""The register itemised: return tokens, linkage, proxies, assent, adult re-consent, history of every item.

Revision 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Columns are added and dropped in place: SQLite's copy of a whole table (batch mode) would forget AUTOINCREMENT of
# `participants`, and with it that a key is never used again.
_SAID = (
    ("language", sa.String(length=10), ""),
    ("by_proxy", sa.Boolean(), sa.false()),
    ("assent", sa.String(length=10), ""),
    ("adult_due", sa.Date(), None),
    ("kind", sa.String(length=20), ""),
)
_CHANGED = (("form_version", sa.String(length=40), ""), ("given_at", sa.Date(), None), *_SAID)
_PERSON = (
    ("return_token", sa.LargeBinary(length=16), None),
    ("linkage", sa.LargeBinary(length=16), None),
    ("may_link", sa.Boolean(), sa.false()),
    ("deceased", sa.Boolean(), sa.false()),
)
_ADDED = {"consents": _SAID, "consent_changes": _CHANGED, "participants": _PERSON}


def upgrade() -> None:
    """Apply."""
    for table, columns in _ADDED.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=default))
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    # Every participant of before gets a token; 122 random bits on PostgreSQL, 128 on SQLite.
    random = "uuid_send(gen_random_uuid())" if on_postgresql else "randomblob(16)"
    op.execute(f"UPDATE participants SET return_token = {random}")
    op.create_index("uq_participants_return_token", "participants", ["return_token"], unique=True)
    op.create_index("ix_participants_linkage", "participants", ["linkage"])
    op.create_table(
        "person_changes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("participant_key", sa.Integer(), nullable=False),
        sa.Column("may_link", sa.Boolean(), nullable=False),
        sa.Column("deceased", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["participant_key"], ["participants.key"], name="fk_person_changes_participant_key_participants"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_person_changes"),
    )
    op.create_index("ix_person_changes_participant_key", "person_changes", ["participant_key"])
    op.create_table(
        "platform_keys",
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("key_wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("purpose", name="pk_platform_keys"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("platform_keys")
    op.drop_table("person_changes")
    op.drop_index("ix_participants_linkage", "participants")
    op.drop_index("uq_participants_return_token", "participants")
    for table, columns in _ADDED.items():
        for name, _kind, _default in reversed(columns):
            op.drop_column(table, name)
