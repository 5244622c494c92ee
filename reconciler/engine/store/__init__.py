"""The engine's memory: a database, written durably before anything else happens.

The only package that knows SQL, a module an area; on SQLite or on PostgreSQL. Every write is
one transaction that is on disk when the call returns; NotDurableError where it could not be.
Any thread, and commands beside a running engine, may call any method.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.api.types import StackRef
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import sqlite
from reconciler.engine.store.audit import (
    AuditEntry,
    AuditLog,
    AuditNote,
    AuditQuery,
    ChainEnd,
    Link,
)
from reconciler.engine.store.claims import Claim, FencedError
from reconciler.engine.store.database import Database, DatabaseLostError, StoreError
from reconciler.engine.store.deployments import (
    SORTS,
    Deployments,
    Newest,
    PageQuery,
    QueueFullError,
)
from reconciler.engine.store.drift import Drift, DriftRun, Phase, forget_drift
from reconciler.engine.store.facts import Facts
from reconciler.engine.store.log_parts import LogPart, LogParts
from reconciler.engine.store.pauses import Pauses, forget_pause
from reconciler.engine.store.schedules import (
    MakeDeployment,
    ScheduleKind,
    Schedules,
    StoredSchedule,
    TakenSlot,
    forget_schedules,
)
from reconciler.engine.store.sealed import Sealed
from reconciler.engine.store.settings import Settings, StoredSettings, forget_settings
from reconciler.engine.store.signals import Signal, Topic
from reconciler.engine.store.stacks import ListedStack, StackInfo, Stacks, forget_stack
from reconciler.engine.store.tokens import StoredToken, Tokens
from reconciler.engine.store.workers import Identity, LostWorker, SessionLostError, Workers

if TYPE_CHECKING:
    from reconciler.engine.store.session import Session

__all__ = [
    "SORTS",
    "AuditEntry",
    "AuditNote",
    "AuditQuery",
    "ChainEnd",
    "Claim",
    "DatabaseLostError",
    "DriftRun",
    "FencedError",
    "Identity",
    "Link",
    "ListedStack",
    "LogPart",
    "LogParts",
    "LostWorker",
    "MakeDeployment",
    "Newest",
    "PageQuery",
    "Phase",
    "QueueFullError",
    "ScheduleKind",
    "SessionLostError",
    "Signal",
    "StackInfo",
    "Store",
    "StoreError",
    "StoredSchedule",
    "StoredSettings",
    "StoredToken",
    "TakenSlot",
    "Topic",
]


class Store:
    """One database, by its areas. `close` when done."""

    def __init__(self, where: Path | DatabaseUrl, keep_audit: timedelta | None = None) -> None:
        """Open the database; StoreError, NotDurableError. A file is made where there is none.

        `keep_audit`: how long entries of the audit log are kept; None: for ever.
        """
        self._database = Database(where)
        self.signals = self._database.signals
        self.audit = AuditLog(self._database, keep_audit)
        self.deployments = Deployments(self._database)
        self.stacks = Stacks(self._database)
        self.settings = Settings(self._database)
        self.facts = Facts(self._database)
        self.log_parts = LogParts(self._database)
        self.pauses = Pauses(self._database)
        self.schedules = Schedules(self._database)
        self.drift = Drift(self._database)
        self.tokens = Tokens(self._database)
        self.sealed = Sealed(self._database)
        self.workers = Workers(self._database)

    @property
    def shared(self) -> bool:
        """Whether other processes, on other hosts too, work with this database as well."""
        return self._database.shared

    def forget_stack(self, stack: StackRef, version: int) -> None:
        """Delete a stack and what belongs to it, of which `version` was the last deployment.

        What it ran stays, and its versions count on. A deployment that came meanwhile has all
        that belongs to it.
        """
        with self._database.write() as connection:
            if not forget_stack(connection, stack, version):
                return
            forget_settings(connection, stack)
            forget_schedules(connection, stack)
            forget_drift(connection, stack)
            forget_pause(connection, stack)

    def tell(self, signal: Signal) -> None:
        """Tell everybody who waits, in all processes; a hint that may be lost."""
        self._database.tell(signal)

    def session(self) -> Session | None:
        """Return a new session, not yet opened; None where nobody else uses the database."""
        url = self._database.url
        if url is None:
            return None
        from reconciler.engine.store.session import Session  # noqa: PLC0415 - costs 100 ms

        return Session(url, self.signals)

    def copy_to(self, path: Path) -> None:
        """Write a copy of the database as it is at one moment; StoreError for PostgreSQL."""
        self._database.copy_to(path)

    def damage(self) -> str:
        """Say what is wrong with the database's file; empty where nothing is."""
        with self._database.read() as connection:
            return sqlite.damage(connection)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
