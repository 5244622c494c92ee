"""Every value that is kept encrypted, wherever it is: so that all can be encrypted anew.

Whoever adds a column of bytes says here what it holds; a test looks for one that was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from reconciler.engine.store.columns import METADATA
from reconciler.engine.store.database import Database

__all__ = ["SEALED", "Sealed", "SealedColumn"]

# How many rows are written together: a transaction of some milliseconds.
BATCH = 200

# Is given a value and its context, and returns what to put in its place, or None to leave it.
Renew = Callable[[bytes, str], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedColumn:
    """A column of encrypted values: the context of each is `context` with its key filled in.

    The columns of `key` are texts, and together one row's alone.
    """

    table: str
    column: str
    key: tuple[str, ...]
    context: str


SEALED = (
    SealedColumn(table="facts", column="value", key=("name",), context="{}"),
    SealedColumn(table="deployments", column="request", key=("id",), context="request/{}"),
    SealedColumn(table="schedules", column="request", key=("id",), context="schedule/{}"),
    SealedColumn(
        table="settings",
        column="sealed",
        key=("organization", "project", "stack"),
        context="settings/{}/{}/{}",
    ),
)


class Sealed:
    """All encrypted values of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rewrite(self, renew: Renew) -> int:
        """Pass over every value, and return how many were rewritten.

        It may be broken off anywhere and begun again.
        """
        return sum(self._rewrite(column, renew) for column in SEALED)

    def _rewrite(self, where: SealedColumn, renew: Renew) -> int:
        table = METADATA.tables[where.table]
        names, value = [table.c[name] for name in where.key], table.c[where.column]
        order, written, last = sa.tuple_(*names), 0, ("",) * len(names)
        while True:
            with self._database.write() as connection:
                rows = connection.execute(
                    sa.select(value, *names).where(order > last).order_by(*names).limit(BATCH)
                ).all()
                for sealed, *key in rows:
                    new = renew(bytes(sealed), where.context.format(*key))
                    if new is not None:
                        change = sa.update(table).where(order == tuple(key))
                        connection.execute(change.values({where.column: new}))
                        written += 1
            if len(rows) < BATCH:
                return written
            last = tuple(rows[-1][1:])
