"""The settings of stacks, a row each, encrypted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from reconciler.api.types import StackRef
from reconciler.engine.store.columns import METADATA, is_stack, stack_columns, stack_values
from reconciler.engine.store.database import Database

__all__ = ["Settings", "StoredSettings", "forget_settings"]

_settings = sa.Table(
    "settings",
    METADATA,
    *stack_columns(primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSettings:
    """A stack's settings as they are kept; `version` counts their changes from 1."""

    version: int
    sealed: bytes


class Settings:
    """Settings by their stacks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, stack: StackRef) -> StoredSettings | None:
        """Return a stack's settings."""
        with self._database.read() as connection:
            return _one(connection, stack)

    def change(
        self, stack: StackRef, make: Callable[[StoredSettings | None], bytes]
    ) -> StoredSettings:
        """Replace a stack's settings by what `make` makes of them.

        Nobody else changes them in between; where `make` raises, nothing is changed.
        """
        with self._database.write() as connection:
            old = _one(connection, stack)
            new = StoredSettings(version=1 if old is None else old.version + 1, sealed=make(old))
            values = {"version": new.version, "sealed": new.sealed}
            if old is None:
                insert = sa.insert(_settings).values(stack_values(stack) | values)
                connection.execute(insert)
            else:
                update = sa.update(_settings).where(is_stack(_settings, stack)).values(values)
                connection.execute(update)
            return new

    def delete(self, stack: StackRef) -> bool:
        """Forget a stack's settings; False where there were none."""
        with self._database.write() as connection:
            gone = connection.execute(sa.delete(_settings).where(is_stack(_settings, stack)))
            return gone.rowcount > 0


def forget_settings(connection: sa.Connection, stack: StackRef) -> None:
    """Forget a stack's settings, within the caller's transaction."""
    connection.execute(sa.delete(_settings).where(is_stack(_settings, stack)))


def _one(connection: sa.Connection, stack: StackRef) -> StoredSettings | None:
    row = connection.execute(sa.select(_settings).where(is_stack(_settings, stack))).one_or_none()
    return None if row is None else StoredSettings(version=row.version, sealed=bytes(row.sealed))
