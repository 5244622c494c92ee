from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import Store
from tests.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | DatabaseUrl:
    """A database that is not there yet: a file, and an empty one of a server."""
    if request.param == "sqlite":
        return tmp_path / "engine.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return DatabaseUrl.parse(server.make_database(), may_hold_password=True)


@pytest.fixture
def store(where: Path | DatabaseUrl) -> Iterator[Store]:
    """An open database of either kind."""
    opened = Store(where)
    yield opened
    opened.close()
