"""The issuer of an engine's data directory, for commands beside it, whether it runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.clock import SystemClock
from reconciler.engine.config import Layout
from reconciler.engine.oidc.issuer import Issuer
from reconciler.engine.sealing import box_of
from reconciler.engine.store import Store
from reconciler.errors import UsageError

__all__ = ["issuer_of"]


@contextmanager
def issuer_of(data: Path, public_url: str) -> Iterator[Issuer]:
    """Give the issuer; UsageError where there is no engine's data."""
    layout = Layout(data.absolute())
    if not layout.database.exists():
        raise UsageError(f"{data} holds no engine's data; give --data DIR")
    store = Store(layout.database)
    try:
        yield Issuer(store.facts, box_of(store, layout.key), SystemClock(), public_url)
    finally:
        store.close()
