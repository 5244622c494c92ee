"""The form of 0.1.0: deployments, stacks, tokens and facts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "stacks",
        sa.Column("organization", sa.Text, primary_key=True),
        sa.Column("project", sa.Text, primary_key=True),
        sa.Column("stack", sa.Text, primary_key=True),
        sa.Column("latest_version", sa.Integer, nullable=False),
        sa.Column("initialized", sa.Boolean, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("last_used", sa.BigInteger),
        sa.Column("revoked", sa.Boolean, nullable=False),
    )
    _make_deployments()


def _make_deployments() -> None:
    sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "deployments",
        sa.Column("sequence", sequence, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("organization", sa.Text, nullable=False),
        sa.Column("project", sa.Text, nullable=False),
        sa.Column("stack", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("last_updated", sa.BigInteger, nullable=False),
        sa.Column("initiator", sa.Text, nullable=False),
        sa.Column("marker", sa.Text),
        sa.Column("cancel_asked", sa.Boolean, nullable=False),
        sa.Column("shown", sa.Text, nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.Column("ending_kind", sa.Text, nullable=False),
        sa.Column("ending_message", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("organization", "project", "stack", "version"),
        sa.UniqueConstraint("organization", "project", "stack", "marker"),
        sqlite_autoincrement=True,
    )
    op.create_index("deployments_by_status", "deployments", ["status", "sequence"])
    op.create_index("deployments_by_organization", "deployments", ["organization", "sequence"])
