"""How values look in the database, in every table alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from reconciler.api.types import StackRef

__all__ = [
    "METADATA",
    "is_named",
    "is_stack",
    "microseconds",
    "moment",
    "stack_columns",
    "stack_values",
]

# All tables: what the newest migration makes.
METADATA = sa.MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_PARTS = ("organization", "project", "stack")


def microseconds(moment: datetime) -> int:
    """Return a time as it is kept: whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """Return the time that was kept."""
    return _EPOCH + timedelta(microseconds=microseconds)


def stack_columns(*, primary_key: bool = False) -> tuple[sa.Column[str], ...]:
    """Return the columns that say which stack a row is of."""
    return tuple(
        sa.Column(name, sa.Text, primary_key=primary_key, nullable=False) for name in _PARTS
    )


def stack_values(stack: StackRef) -> dict[str, str]:
    """Return what those columns hold for a stack."""
    return {
        "organization": stack.organization,
        "project": stack.project,
        "stack": stack.stack,
    }


def is_stack(table: sa.Table, stack: StackRef) -> sa.ColumnElement[bool]:
    """Return the condition that a row of `table` is of this stack."""
    return sa.and_(*(table.c[name] == value for name, value in stack_values(stack).items()))


def is_named(table: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition of `is_stack`, for a stack whose `stack_values` are given later."""
    return sa.and_(*(table.c[name] == sa.bindparam(name) for name in _PARTS))
