"""Pauses, schedules and drift runs; stacks that were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table("pauses", *_stack(primary_key=True))
    op.add_column(
        "deployments",
        sa.Column("skip_intermediate", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "stacks", sa.Column("deleted", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text, primary_key=True),
        *_stack(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("cron", sa.Text, nullable=False),
        sa.Column("once", sa.BigInteger),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.Column("counted_from", sa.BigInteger, nullable=False),
        sa.Column("next", sa.BigInteger),
        sa.Column("last_executed", sa.BigInteger),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
    )
    op.create_index("schedules_by_next", "schedules", ["next"])
    op.create_index("schedules_by_stack", "schedules", ["organization", "project", "stack"])
    op.create_table(
        "schedule_slots",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("executed", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.UniqueConstraint("schedule", "slot"),
    )
    op.create_table(
        "drift_phases",
        sa.Column("deployment", sa.Text, primary_key=True),
        sa.Column("remediates", sa.Boolean, primary_key=True),
        sa.Column("detected", sa.Boolean, nullable=False),
        sa.Column("succeeded", sa.Boolean, nullable=False),
        sa.Column("changes", sa.Text, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
    )


def _stack(*, primary_key: bool = False) -> tuple[sa.Column[str], ...]:
    names = ("organization", "project", "stack")
    return tuple(
        sa.Column(name, sa.Text, primary_key=primary_key, nullable=False) for name in names
    )
