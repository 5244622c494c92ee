"""The workers of a shared database, and which of them are lost.

A worker holds a lock as long as its session lasts (`session.py`). One whose lock is free has
lost its session, and ends what it runs; how long that may take, `HAND_OVER` says: only then
may others take over what it had. They time it themselves, since clocks of databases jump too.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from reconciler.engine.store.columns import METADATA
from reconciler.engine.store.database import Database
from reconciler.engine.store.postgres import WORKER_LOCKS

__all__ = ["Identity", "LostWorker", "SessionLostError", "Workers"]

_workers = sa.Table(
    "workers",
    METADATA,
    # SQLite counts by itself only in a column that is called INTEGER.
    sa.Column(
        "number",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
    # Of a form before, when it was the database that told for how long: written no more.
    sa.Column("lost", sa.BigInteger),
    sqlite_autoincrement=True,
)

# The lock of a worker is its number, in our class of advisory locks (`session.py`).
_FREE = sa.text("""
    SELECT number FROM workers WHERE NOT EXISTS (
        SELECT 1 FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 2
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = :locks AND objid = workers.number
    )
""").bindparams(locks=WORKER_LOCKS)


class SessionLostError(Exception):
    """The session has ended, or cannot be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which process a worker is: others on the same host can see whether it still lives."""

    host: str
    process: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LostWorker:
    """A worker without its lock: on which host, and as which process."""

    number: int
    host: str
    process: str


class Workers:
    """The workers of a PostgreSQL database, by their numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lost(self) -> tuple[LostWorker, ...]:
        """Return the workers that have lost their session."""
        if not self._database.shared:
            return ()
        with self._database.read() as connection:
            free = connection.execute(_FREE).scalars().all()
            if not free:
                return ()
            rows = connection.execute(
                sa.select(_workers).where(_workers.c.number.in_(free)).order_by(_workers.c.number)
            ).all()
        return tuple(
            LostWorker(number=row.number, host=row.host, process=row.process) for row in rows
        )

    def forget(self, number: int) -> bool:
        """Forget a worker that has nothing left; whether it was us who did."""
        with self._database.write_rows() as connection:
            done = connection.execute(sa.delete(_workers).where(_workers.c.number == number))
            return done.rowcount == 1

    def numbers(self) -> frozenset[int]:
        """Return the numbers of all workers, those that are lost included."""
        with self._database.read() as connection:
            return frozenset(connection.execute(sa.select(_workers.c.number)).scalars())
