"""The keys of an engine's data directory, for commands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.clock import SystemClock
from reconciler.engine.config import Layout
from reconciler.engine.oidc.issuer import Issuer
from reconciler.engine.sealing import box_of, key_file
from reconciler.engine.store import Store
from reconciler.errors import UsageError

__all__ = ["issuer_of", "store_of"]


@contextmanager
def issuer_of(data: Path, key: Path | None, public_url: str) -> Iterator[Issuer]:
    """Give the issuer, whether or not the engine runs."""
    with store_of(data) as (store, layout):
        box = box_of(store, key_file(key, layout.key))
        yield Issuer(store.facts, box, SystemClock(), public_url)


@contextmanager
def store_of(data: Path) -> Iterator[tuple[Store, Layout]]:
    """Give the store of a data directory; UsageError where there is no engine's data."""
    layout = Layout(data.absolute())
    if not layout.database.exists():
        raise UsageError(f"{data} holds no engine's data; give --data DIR")
    store = Store(layout.database)
    try:
        yield store, layout
    finally:
        store.close()
