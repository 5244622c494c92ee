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


def _stack(*, primary_key: bool = False) -> tuple[sa.Column[str], ...]:
    names = ("organization", "project", "stack")
    return tuple(
        sa.Column(name, sa.Text, primary_key=primary_key, nullable=False) for name in names
    )
