"""How PostgreSQL is connected to, and what only it can do: taking turns, and telling others."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from reconciler.engine.database_url import DatabaseUrl

__all__ = [
    "CHANNEL",
    "WORKER_LOCKS",
    "address",
    "allow_long",
    "connect_options",
    "hurry",
    "make_engines",
    "notify",
    "take_turn",
]

# What signals go by; a database is one engine's.
CHANNEL = "reconciler"

# Our advisory locks are numbers in these classes: letters that nobody else will choose.
TURN_LOCKS = int.from_bytes(b"recT", "big")
WORKER_LOCKS = int.from_bytes(b"recW", "big")

# A server that takes longer to answer is treated as one that is not there.
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 8_000

# A process that stops in the middle of a write must not hold up all others.
IDLE_IN_TRANSACTION_MS = 5_000

# A host or a network that is gone is noticed, on both sides, after about so long.
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_COUNT = 3, 2, 3
USER_TIMEOUT_MS = 8_000

# PostgreSQL has 100 by default, for all processes together.
POOLED, MORE = 4, 12
POOL_TIMEOUT_S = 10


def connect_options() -> dict[str, Any]:
    """Return what every connection is opened with: bounds on every wait."""
    server = {
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
        "tcp_keepalives_idle": KEEPALIVE_IDLE_S,
        "tcp_keepalives_interval": KEEPALIVE_EVERY_S,
        "tcp_keepalives_count": KEEPALIVE_COUNT,
        "tcp_user_timeout": USER_TIMEOUT_MS,
    }
    return {
        "application_name": "reconciler",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": KEEPALIVE_IDLE_S,
        "keepalives_interval": KEEPALIVE_EVERY_S,
        "keepalives_count": KEEPALIVE_COUNT,
        "tcp_user_timeout": USER_TIMEOUT_MS,
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
    }


def address(url: DatabaseUrl) -> dict[str, Any]:
    """Return where the database is, in libpq's words."""
    known = {
        "host": url.host,
        "port": url.port,
        "user": url.user,
        "password": url.password,
        "dbname": url.database,
    }
    return {name: value for name, value in known.items() if value} | dict(url.parameters)


def make_engines(url: DatabaseUrl) -> tuple[sa.Engine, sa.Engine]:
    """Return what reads and what writes the database; nothing is connected yet."""
    engine = sa.create_engine(
        "postgresql+psycopg://",
        connect_args=connect_options() | address(url),
        pool_size=POOLED,
        max_overflow=MORE,
        pool_timeout=POOL_TIMEOUT_S,
        # A connection that was cut while nobody used it is replaced, and nobody is told.
        pool_pre_ping=True,
        # A caller's values stay out of errors, which end up in logs.
        hide_parameters=True,
    )
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return reader, engine


def take_turn(connection: sa.Connection) -> None:
    """Wait until no other write is under way, in any process, up to this one's end."""
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:locks, 0)"), {"locks": TURN_LOCKS})


def allow_long(connection: sa.Connection) -> None:
    """Let this transaction take as long as it takes: it reads or changes the whole of tables."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {name} = 0")


def hurry(connection: sa.Connection) -> None:
    """Let this transaction end without waiting for the disk."""
    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def notify(connection: sa.Connection, text: str) -> None:
    """Send a signal to all who listen, at the end of this transaction."""
    connection.execute(
        sa.text("SELECT pg_notify(:channel, :text)"), {"channel": CHANNEL, "text": text}
    )
