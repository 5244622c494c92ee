"""The keys of an engine, for commands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.clock import SystemClock
from reconciler.engine.config import Layout
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.oidc.issuer import Issuer
from reconciler.engine.sealing import Changed, box_of, change_key, key_file
from reconciler.engine.store import Store
from reconciler.errors import AnotherInstanceError, UsageError

__all__ = ["Keys", "opened"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """An engine's database, and the file of the key that its secrets are encrypted with."""

    store: Store
    path: Path

    def issuer(self, public_url: str) -> Issuer:
        """Return the issuer, whether or not the engine runs."""
        box = box_of(self.store, self.path)
        return Issuer(self.store.facts, box, SystemClock(), public_url)

    def change(self) -> Changed:
        """Encrypt everything with a new key. The caller has seen to it that no engine runs here.

        AnotherInstanceError where workers are known to a shared database.
        """
        workers = self.store.workers.numbers() if self.store.shared else frozenset()
        if workers:
            raise AnotherInstanceError(
                f"the database has {len(workers)} workers: stop every engine and worker first"
            )
        return change_key(self.store, self.path)


@contextmanager
def opened(layout: Layout, key: Path | None, database: DatabaseUrl | None) -> Iterator[Keys]:
    """Give the keys of a data directory or a shared database; UsageError where there is none."""
    if database is None and not layout.database.exists():
        raise UsageError(f"{layout.data} holds no engine's data; give --data DIR")
    store = Store(database or layout.database)
    try:
        yield Keys(store=store, path=key_file(key, layout.key))
    finally:
        store.close()
