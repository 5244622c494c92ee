"""One database: its connections, its transactions, and its form.

SQLite, in one file, or PostgreSQL, for many processes. A new or older one is brought to the
newest form when it is opened.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import postgres, sqlite
from reconciler.engine.store.migrations.migrate import HEAD, StrangeFormError, upgrade
from reconciler.engine.store.prepared import Prepared
from reconciler.engine.store.signals import Signal, Signals
from reconciler.errors import NotDurableError, ReconcilerError

__all__ = ["Database", "DatabaseLostError", "StoreError"]

_log = logging.getLogger(__name__)

# What a lost, overloaded or full database answers, and one that has ended a transaction which
# took too long (an `InternalError`); all others are faults of our own.
_LOST = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.InternalError,
    sa.exc.TimeoutError,
)

_SIGNALS = "signals"

# Says on a connection that its transaction has changed something.
_CHANGED = "changed"


class StoreError(ReconcilerError):
    """The database is of another version, or not one of ours."""


class DatabaseLostError(StoreError):
    """The database cannot be reached or read just now; it may be again by itself."""


class Database:
    """The connections to one database. `close` when done."""

    def __init__(self, where: Path | DatabaseUrl) -> None:
        """Open the database, a file or a PostgreSQL one; StoreError, NotDurableError.

        A file is made where there is none.
        """
        # Called at the end of each transaction that has changed something, as its last part.
        self.before_commit: Callable[[sa.Connection], None] = _nothing
        self.signals = Signals()
        self.url = where if isinstance(where, DatabaseUrl) else None
        self._lock = threading.Lock()
        if self.url is not None:
            self._reader, self._writer = postgres.make_engines(self.url)
        else:
            self._reader, self._writer = sqlite.make_engines(Path(str(where)))
        sa.event.listen(self._writer, "after_cursor_execute", _mark_changed)
        try:
            self._bring_to_form()
        except (sa.exc.DatabaseError, StrangeFormError, DatabaseLostError) as error:
            self.close()
            reason = error.orig if isinstance(error, sa.exc.DatabaseError) else error
            raise StoreError(f"{where} cannot be used: {reason}") from error

    @property
    def shared(self) -> bool:
        """Whether other processes work with this database as well."""
        return self.url is not None

    def close(self) -> None:
        """Let go of the database."""
        self._reader.dispose()

    def copy_to(self, path: Path) -> None:
        """Write a copy of the file as it is at one moment; StoreError where it is no file."""
        if self.shared:
            raise StoreError("a PostgreSQL database is backed up with its own tools: pg_dump")
        sqlite.copy(self._reader, path)

    @contextmanager
    def read(self, *, long: bool = False) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the database; DatabaseLostError.

        `long`: its statements may take as long as they take, which nobody waits for.
        """
        try:
            with self._reader.connect() as connection:
                if long and self.shared:
                    postgres.allow_long(connection)
                yield connection
        except _LOST as error:
            raise DatabaseLostError(
                f"the engine's database cannot be read: {_why(error)}"
            ) from error

    def first(self, query: Prepared, **parameters: object) -> Any:
        """Return the one row of a query, by its columns' names, or None; DatabaseLostError."""
        if self.shared:
            with self.read() as connection:
                return connection.execute(query.select, parameters).one_or_none()
        try:
            values = sqlite.first(self._reader, query.text, query.values(parameters))
        except (self._reader.dialect.loaded_dbapi.Error, *_LOST) as error:
            raise DatabaseLostError(
                f"the engine's database cannot be read: {_why(error)}"
            ) from error
        return None if values is None else query.row(values)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a transaction that is durable at its end; one at a time, over all processes."""
        with self._writing(alone=True) as connection:
            yield connection

    @contextmanager
    def write_rows(self, *, long: bool = False) -> Iterator[sa.Connection]:
        """Do as `write`, but on PostgreSQL beside others, there for as long as it takes if `long`.

        The caller selects the rows that it will change `with_for_update`.
        """
        with self._writing(alone=False, long=long) as connection:
            yield connection

    def send(self, connection: sa.Connection, signal: Signal) -> None:
        """Tell everybody who waits, when this transaction is durable."""
        if self.shared:
            postgres.notify(connection, str(signal))
        else:
            connection.info.setdefault(_SIGNALS, []).append(signal)

    def hurry(self, connection: sa.Connection) -> None:
        """Let this transaction be over before it is durable, where that is quicker."""
        if self.shared:
            postgres.hurry(connection)

    def tell(self, signal: Signal) -> None:
        """Tell everybody who waits, now; a hint that is lost with the database."""
        if not self.shared:
            self.signals.emit(signal)
            return
        try:
            with self._writer.begin() as connection:
                postgres.notify(connection, str(signal))
        except _LOST as error:
            _log.warning("others were not told of %s: %s", signal, _why(error))

    @contextmanager
    def _writing(self, *, alone: bool, long: bool = False) -> Iterator[sa.Connection]:
        signals: list[Signal] = []
        # Within one process SQLite's writers take turns here, which is fairer than its own wait.
        turn = contextlib.nullcontext() if self.shared else self._lock
        try:
            with turn, self._writer.begin() as connection:
                connection.info.pop(_SIGNALS, None)
                connection.info.pop(_CHANGED, None)
                if long and self.shared:
                    postgres.allow_long(connection)
                if alone and self.shared:
                    postgres.take_turn(connection)
                yield connection
                if connection.info.pop(_CHANGED, False):
                    self.before_commit(connection)
                signals += connection.info.pop(_SIGNALS, ())
        except _LOST as error:
            message = f"the engine's database could not be written: {_why(error)}"
            raise NotDurableError(message) from error
        for signal in signals:
            self.signals.emit(signal)

    def _bring_to_form(self) -> None:
        with self.read() as connection:
            if _form(connection) == HEAD:
                return
        with self._writing(alone=True, long=True) as connection:
            # Another process may have done it in between.
            if _form(connection) != HEAD:
                upgrade(connection)


def _why(error: Exception) -> str:
    return str(error.orig if isinstance(error, sa.exc.DBAPIError) else error).strip()


def _nothing(_: sa.Connection) -> None:
    """Do nothing at the end of a transaction."""


def _mark_changed(connection: sa.Connection, *executed: Any) -> None:
    cursor, context = executed[0], executed[3]
    if (context.isinsert or context.isupdate or context.isdelete) and cursor.rowcount:
        connection.info[_CHANGED] = True


def _form(connection: sa.Connection) -> str:
    """Return the revision the database is of; empty for a new one or one without."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    return str(found[0]) if len(found) == 1 else ""
