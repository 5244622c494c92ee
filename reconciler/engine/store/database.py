"""One database: its connections, its transactions, and its form.

SQLite, in one file. A new or older file is brought to the newest form when it is opened.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from reconciler.engine.store.migrations.migrate import HEAD, StrangeFormError, upgrade
from reconciler.errors import NotDurableError, ReconcilerError

__all__ = ["Database", "StoreError"]

# How long a write waits for another process's (a token being made) before it gives up.
BUSY_TIMEOUT_MS = 10_000

# More than all request threads and workers together, so that none waits for a connection.
CONNECTIONS = 64


class StoreError(ReconcilerError):
    """The database is of another version, or not one of ours."""


class Database:
    """The connections to one database. `close` when done."""

    def __init__(self, path: Path) -> None:
        """Open the database, making it where there is none; StoreError, NotDurableError."""
        self._lock = threading.Lock()
        _make_private(path)
        self._reader = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            pool_size=CONNECTIONS,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        )
        sa.event.listen(self._reader, "connect", _prepare_connection)
        sa.event.listen(self._reader, "begin", _begin)
        self._writer = self._reader.execution_options(immediate=True)
        try:
            self._bring_to_form()
        except sa.exc.DatabaseError as error:
            self.close()
            raise StoreError(f"{path} cannot be used: {error.orig}") from error
        except StrangeFormError as error:
            self.close()
            raise StoreError(f"{path} cannot be used: {error}") from error

    def close(self) -> None:
        """Let go of the database."""
        self._reader.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the database."""
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a transaction that is durable at its end; one at a time in this process."""
        try:
            with self._lock, self._writer.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            message = f"the engine's database could not be written: {error.orig}"
            raise NotDurableError(message) from error

    def _bring_to_form(self) -> None:
        with self.read() as connection:
            if _form(connection) == HEAD:
                return
        with self.write() as connection:
            # Another process may have done it in between.
            if _form(connection) != HEAD:
                upgrade(connection)


def _form(connection: sa.Connection) -> str:
    """Return the revision the database is of; empty for a new one or one without."""
    known = connection.execute(
        sa.text("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
    ).one_or_none()
    if known is None:
        return ""
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    return str(found[0]) if len(found) == 1 else ""


def _make_private(path: Path) -> None:
    """Make the file before SQLite does, so that nobody else can read it or its companions."""
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
