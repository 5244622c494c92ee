"""The engine's memory: a database, written durably before anything else happens.

The only package that knows SQL, a module an area. Every write is one transaction that is on
disk when the call returns; NotDurableError where it could not be. Any thread, and commands
beside a running engine, may call any method.
"""

from __future__ import annotations

from pathlib import Path

from reconciler.engine.store.database import Database, StoreError
from reconciler.engine.store.deployments import SORTS, Deployments, PageQuery
from reconciler.engine.store.facts import Facts
from reconciler.engine.store.pauses import Pauses
from reconciler.engine.store.stacks import StackInfo, Stacks
from reconciler.engine.store.tokens import StoredToken, Tokens

__all__ = ["SORTS", "PageQuery", "StackInfo", "Store", "StoreError", "StoredToken"]


class Store:
    """One database, by its areas. `close` when done."""

    def __init__(self, path: Path) -> None:
        """Open the database, making it where there is none; StoreError, NotDurableError."""
        self._database = Database(path)
        self.deployments = Deployments(self._database)
        self.stacks = Stacks(self._database)
        self.facts = Facts(self._database)
        self.pauses = Pauses(self._database)
        self.tokens = Tokens(self._database)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
