"""What is paused: whole organizations and single stacks, a row each."""

from __future__ import annotations

import sqlalchemy as sa

from reconciler.api.types import StackRef
from reconciler.engine.dispatch import Paused
from reconciler.engine.store.columns import METADATA, is_stack, stack_columns, stack_values
from reconciler.engine.store.database import Database

__all__ = ["Pauses", "forget_pause"]

# A row is a pause; that of an organization has no project and no stack.
_pauses = sa.Table("pauses", METADATA, *stack_columns(primary_key=True))


class Pauses:
    """Pauses of organizations and stacks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> Paused:
        """Return everything that is paused."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_pauses)).all()
        return Paused(
            organizations=frozenset(row.organization for row in rows if not row.stack),
            stacks=frozenset(
                StackRef(row.organization, row.project, row.stack) for row in rows if row.stack
            ),
        )

    def pause(self, organization: str, stack: StackRef | None = None) -> None:
        """Pause a stack, or without one the organization; nothing changes where it is."""
        whose = stack or StackRef(organization, "", "")
        with self._database.write() as connection:
            known = connection.execute(
                sa.select(_pauses.c.stack).where(is_stack(_pauses, whose))
            ).one_or_none()
            if known is None:
                connection.execute(sa.insert(_pauses).values(stack_values(whose)))

    def resume(self, organization: str, stack: StackRef | None = None) -> None:
        """Let a stack, or without one the organization, go on; nothing changes where it does."""
        whose = stack or StackRef(organization, "", "")
        with self._database.write() as connection:
            forget_pause(connection, whose)


def forget_pause(connection: sa.Connection, stack: StackRef) -> None:
    """Let a stack go on, within the caller's transaction."""
    connection.execute(sa.delete(_pauses).where(is_stack(_pauses, stack)))
