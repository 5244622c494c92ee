"""The audit log, and what tokens are called."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    for name in ("id", "name", "created_by"):
        column = sa.Column(name, sa.Text, nullable=False, server_default="")
        op.add_column("tokens", column)
    _name_tokens(op.get_bind())
    op.create_index("tokens_by_id", "tokens", ["id"], unique=True)
    op.create_table(
        "audit",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("audit_by_organization", "audit", ["organization", "sequence"])
    op.create_table(
        "audit_ends",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )


def _name_tokens(connection: sa.Connection) -> None:
    """Give the tokens of before an id: theirs were known to nobody but their owners."""
    tokens = sa.table("tokens", sa.column("hash"), sa.column("id"))
    for found in connection.execute(sa.select(tokens.c.hash)).scalars().all():
        connection.execute(
            sa.update(tokens).where(tokens.c.hash == found).values(id=str(uuid.uuid4()))
        )
