"""The stacks that an engine knows."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from reconciler.api.types import StackRef
from reconciler.engine.store.columns import (
    METADATA,
    is_named,
    is_stack,
    stack_columns,
    stack_values,
)
from reconciler.engine.store.database import Database
from reconciler.engine.store.prepared import Prepared

__all__ = [
    "STACKS",
    "ListedStack",
    "StackInfo",
    "Stacks",
    "count_deployments",
    "forget_stack",
    "lock_stack",
    "next_version",
]

STACKS = sa.Table(
    "stacks",
    METADATA,
    *stack_columns(primary_key=True),
    sa.Column("latest_version", sa.Integer, nullable=False),
    sa.Column("initialized", sa.Boolean, nullable=False),
    # A deleted one is not there, but its deployments are, and its versions count on.
    sa.Column("deleted", sa.Boolean, nullable=False, server_default=sa.false()),
)
_THERE = Prepared(
    sa.select(STACKS.c.latest_version, STACKS.c.initialized).where(
        is_named(STACKS), STACKS.c.deleted.is_(False)
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInfo:
    """What the engine knows of a stack. `initialized`: its backend was seen to have it."""

    latest_version: int
    initialized: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStack:
    """A stack of a list."""

    stack: StackRef
    latest_version: int


class Stacks:
    """Stacks by their names."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, stack: StackRef) -> StackInfo | None:
        """Return what is known of a stack."""
        row = self._database.first(_THERE, **stack_values(stack))
        if row is None:
            return None
        return StackInfo(latest_version=row.latest_version, initialized=bool(row.initialized))

    def make(self, stack: StackRef) -> bool:
        """Make a stack known; False where it was."""
        with self._database.write() as connection:
            known = connection.execute(
                sa.select(STACKS.c.deleted).where(is_stack(STACKS, stack))
            ).scalar_one_or_none()
            if known is None:
                _insert(connection, stack)
            elif known:
                _change(connection, stack, deleted=False)
            return known is not False

    def mark_initialized(self, stack: StackRef) -> None:
        """Remember that the backend has the stack: from now on it must."""
        with self._database.write() as connection:
            _change(connection, stack, initialized=True, deleted=False)

    def mark_uninitialized(self, stack: StackRef) -> None:
        """Forget that the backend has the stack: it is about to go."""
        with self._database.write() as connection:
            _change(connection, stack, initialized=False)

    def page(
        self, organization: str, project: str, after: tuple[str, ...], limit: int
    ) -> tuple[ListedStack, ...]:
        """Return stacks in the order of their names, those behind `after`'s three parts.

        An empty organization or project stands for all of them.
        """
        c = STACKS.c
        names = sa.tuple_(c.organization, c.project, c.stack)
        where: list[sa.ColumnElement[bool]] = [c.deleted.is_(False)]
        where += [c.organization == organization] if organization else []
        where += [c.project == project] if project else []
        where += [names > sa.tuple_(*after)] if after else []
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(STACKS)
                .where(*where)
                .order_by(c.organization, c.project, c.stack)
                .limit(limit)
            ).all()
        return tuple(
            ListedStack(
                stack=StackRef(row.organization, row.project, row.stack),
                latest_version=row.latest_version,
            )
            for row in rows
        )

    def all(self) -> tuple[tuple[StackRef, StackInfo], ...]:
        """Return all stacks, in the order of their names."""
        order = (STACKS.c.organization, STACKS.c.project, STACKS.c.stack)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(STACKS).order_by(*order)).all()
        return tuple(
            (
                StackRef(row.organization, row.project, row.stack),
                StackInfo(latest_version=row.latest_version, initialized=row.initialized),
            )
            for row in rows
        )

    def organizations(self) -> tuple[str, ...]:
        """Return the names of all organizations that have a stack."""
        with self._database.read() as connection:
            names = connection.execute(
                sa.select(STACKS.c.organization)
                .where(STACKS.c.deleted.is_(False))
                .distinct()
                .order_by(STACKS.c.organization)
            ).scalars()
            return tuple(str(name) for name in names)


def next_version(connection: sa.Connection, stack: StackRef) -> int:
    """Count one more deployment of a stack, within the caller's transaction.

    From now until its end nobody else counts one of this stack.
    """
    version = 1 + lock_stack(connection, stack)
    _change(connection, stack, latest_version=version, deleted=False)
    return version


def count_deployments(
    connection: sa.Connection, organization: str, stack: StackRef | None = None
) -> int:
    """Return how many deployments a stack has had, or with None an organization.

    Versions leave no gap and deployments are never deleted, so the latest version is their
    number: there are far fewer stacks to look at than deployments.
    """
    c = STACKS.c
    where = c.organization == organization if stack is None else is_stack(STACKS, stack)
    found = connection.execute(sa.select(sa.func.sum(c.latest_version)).where(where)).scalar_one()
    return int(found or 0)


def forget_stack(connection: sa.Connection, stack: StackRef, version: int) -> bool:
    """Delete a stack whose state has gone, within the caller's transaction.

    A new one of its name counts on. Where a deployment came after `version`, the stack is what
    that deploys: only that its backend has it is forgotten, and False returned.
    """
    newest = lock_stack(connection, stack) == version
    values = {"initialized": False} | ({"deleted": True} if newest else {})
    _change(connection, stack, **values)
    return newest


def lock_stack(connection: sa.Connection, stack: StackRef) -> int:
    """Keep all others from changing a stack, made known if need be; return its latest version."""
    query = sa.select(STACKS.c.latest_version).where(is_stack(STACKS, stack)).with_for_update()
    known = connection.execute(query).scalar_one_or_none()
    if known is not None:
        return int(known)
    _insert(connection, stack)
    return int(connection.execute(query).scalar_one())


def _change(connection: sa.Connection, stack: StackRef, **values: object) -> None:
    connection.execute(sa.update(STACKS).where(is_stack(STACKS, stack)).values(values))


def _insert(connection: sa.Connection, stack: StackRef) -> None:
    """Make a stack known, unless somebody else does so at the same time."""
    values = stack_values(stack) | {"latest_version": 0, "initialized": False}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(STACKS).values(values).on_conflict_do_nothing())
