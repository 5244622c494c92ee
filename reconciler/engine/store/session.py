"""A process's own connection to a shared database: it hears signals, and is a proof of life.

A worker's session holds a lock, which the server frees when the session ends, however it ends.
The session is proven again and again by a round trip; whoever cannot prove it in time must
take it for lost, since others may see the lock free already.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable

import psycopg

from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import postgres
from reconciler.engine.store.signals import Signal, Signals
from reconciler.engine.store.workers import Identity, SessionLostError

__all__ = ["PROVE_EVERY_S", "Session", "uptime_s"]

# A round trip costs 0.1 ms of processor time on both sides.
PROVE_EVERY_S = 2.0


def uptime_s() -> float:
    """Return a time that only goes on, also while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Session:
    """One session. `open`, then `listen`; `cut` and `end` may be any thread's."""

    def __init__(self, url: DatabaseUrl, signals: Signals) -> None:
        self._url = url
        self._signals = signals
        self._connection: psycopg.Connection[tuple[int, ...]] | None = None
        self._ended = False

    def open(self, identity: Identity | None) -> int:
        """Connect and listen; with an identity as a worker, whose new number is returned, else 0.

        SessionLostError where that cannot be done.
        """
        try:
            self._connection = psycopg.connect(
                **postgres.connect_options(), **postgres.address(self._url), autocommit=True
            )
            if self._ended:
                raise psycopg.OperationalError("the session is to end")
            self._connection.execute(f"LISTEN {postgres.CHANNEL}")
            return 0 if identity is None else self._register(self._connection, identity)
        except psycopg.Error as error:
            self.close()
            raise SessionLostError(str(error).strip()) from error

    def listen(self, proven: Callable[[float], None]) -> None:
        """Hand on signals until the session is lost or cut; SessionLostError says how.

        `proven` is told, again and again, at which `uptime_s` the session was sure to be alive.
        """
        connection = self._connection
        if connection is None:
            raise SessionLostError("it was not opened")
        try:
            while True:
                before = uptime_s()
                connection.execute("SELECT 1")
                proven(before)
                for heard in connection.notifies(timeout=PROVE_EVERY_S):
                    self._signals.emit(Signal.parse(heard.payload))
        except (psycopg.Error, OSError) as error:
            raise SessionLostError(str(error).strip() or "it was cut") from error

    def cut(self) -> None:
        """End the session at once, whatever its thread waits for."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        with contextlib.suppress(OSError, psycopg.Error):
            number = os.dup(connection.fileno())
            with socket.socket(fileno=number) as shared:
                shared.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Cut the session, for good: one that is being opened just now as well."""
        # In this order: whoever opens it looks after there is something to cut.
        self._ended = True
        self.cut()

    def close(self) -> None:
        """Let go of the connection; a worker's lock is free then."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()

    @staticmethod
    def _register(connection: psycopg.Connection[tuple[int, ...]], identity: Identity) -> int:
        # Others see the row only when its lock is held.
        with connection.transaction():
            row = connection.execute(
                "INSERT INTO workers (host, process) VALUES (%s, %s) RETURNING number",
                (identity.host, identity.process),
            ).fetchone()
            number = 0 if row is None else row[0]
            connection.execute("SELECT pg_advisory_lock(%s, %s)", (postgres.WORKER_LOCKS, number))
        return number
