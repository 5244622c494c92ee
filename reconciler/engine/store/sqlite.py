"""How SQLite is opened: written ahead, durable, and waited for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

__all__ = ["copy", "damage", "first", "make_engines"]

# How long a write waits for another process's (a token being made) before it gives up.
BUSY_TIMEOUT_MS = 10_000

# More than all request threads and workers together, so that none waits for a connection.
CONNECTIONS = 64


def make_engines(path: Path) -> tuple[sa.Engine, sa.Engine]:
    """Return what reads and what writes the file, which is made where there is none."""
    _make_private(path)
    reader = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        pool_size=CONNECTIONS,
        # A caller's values stay out of errors, which end up in logs.
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
    )
    sa.event.listen(reader, "connect", _prepare_connection)
    sa.event.listen(reader, "begin", _begin)
    return reader, reader.execution_options(immediate=True)


def first(engine: sa.Engine, text: str, values: tuple[object, ...]) -> tuple[object, ...] | None:
    """Return the first row of a query, asked of the driver itself; its errors are the driver's."""
    with contextlib.closing(engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        # Outside of a transaction, a select sees one state of the database by itself.
        cursor = driver.execute(text, values)
        found: tuple[object, ...] | None = cursor.fetchone()
        # Up to its end it would hold that state, and keep the log of writes from being emptied.
        cursor.close()
        return found


def copy(engine: sa.Engine, path: Path) -> None:
    """Write a copy of the file as it is at one moment, whoever goes on writing to it."""
    _make_private(path)
    target = sa.create_engine(sa.URL.create("sqlite", database=str(path)))
    try:
        with (
            contextlib.closing(engine.raw_connection()) as source,
            contextlib.closing(target.raw_connection()) as copied,
        ):
            driver: Any = source.driver_connection
            driver.backup(copied.driver_connection)
    finally:
        target.dispose()


def damage(connection: sa.Connection) -> str:
    """Say what is wrong with the file; empty where nothing is."""
    found = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one())
    return "" if found == "ok" else found


def _make_private(path: Path) -> None:
    """Make the file before SQLite does, so that nobody else can read it or its companions."""
    # Only where there is none: to close any descriptor of a database lets go of all locks that
    # this process has on it.
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _prepare_connection(connection: Any, _: object) -> None:
    # Transactions begin where `_begin` says, and not where the driver guesses.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _keep_a_log(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _keep_a_log(connection: Any) -> None:
    """Have the database write ahead.

    It refuses at once, whatever the timeout, while another process makes it: ask until it is
    made.
    """
    end = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    pause = threading.Event()
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            pause.wait(0.01)
        else:
            return


def _begin(connection: sa.Connection) -> None:
    # A write takes its lock at once: one that was upgraded from a read could not wait for it.
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
