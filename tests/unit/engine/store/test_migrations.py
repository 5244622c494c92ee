from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from reconciler.api.types import JobStatus, StackRef
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.store import Store, StoreError
from reconciler.engine.store.columns import METADATA
from reconciler.engine.store.database import Database
from reconciler.engine.store.migrations import migrate

RELEASED = Path(__file__).parent / "released"
WEB = StackRef("acme", "web", "prod")


def released(tmp_path: Path, version: str) -> Path:
    """Make a database as that version left it."""
    path = tmp_path / "engine.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((RELEASED / f"{version}.sql").read_text())
    connection.close()
    return path


def differences(where: Path | DatabaseUrl) -> list[object]:
    """Say how the tables of a database differ from those that the code knows."""
    database = Database(where)
    with database.read() as connection:
        found = compare_metadata(MigrationContext.configure(connection), METADATA)
    database.close()
    return list(found)


def test_the_newest_form_is_the_one_that_the_code_knows(where: Path | DatabaseUrl) -> None:
    """A new database, made by the migrations, has the tables, columns and indexes of the code."""
    Store(where).close()
    assert differences(where) == []


def test_many_processes_may_open_a_new_database_at_once(where: Path | DatabaseUrl) -> None:
    """Whoever comes first makes the tables, and the others wait for that."""
    failed: list[Exception] = []

    def use() -> None:
        try:
            Store(where).close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells of it
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert differences(where) == []


def test_the_newest_revision_is_named() -> None:
    """The revision that an open database is held to is the last of the scripts."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


@pytest.mark.parametrize("version", sorted(p.stem for p in RELEASED.glob("*.sql")))
def test_every_released_form_becomes_the_newest(tmp_path: Path, version: str) -> None:
    """What a released engine has left is all there after the upgrade, in the newest form."""
    path = released(tmp_path, version)
    store = Store(path)
    first = store.deployments.get("d1")
    assert first is not None
    assert first.status is JobStatus.SUCCEEDED
    assert first.marker == "RECONCILER_RUN_a"
    assert [r.id for r in store.deployments.running()] == ["d2"]
    assert [q.id for q in store.deployments.queued()] == ["d3"]
    info = store.stacks.get(WEB)
    assert info is not None
    assert (info.latest_version, info.initialized) == (2, True)
    assert store.facts.get("passphrase/acme") == b"sealed"
    token = store.tokens.get("h" * 64)
    assert token is not None
    assert token.user == "ann"
    store.close()
    assert differences(path) == []
    Store(path).close()


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """An engine does not touch a database whose form it does not know."""
    Store(tmp_path / "engine.db").close()
    with sqlite3.connect(tmp_path / "engine.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match="newer"):
        Store(tmp_path / "engine.db")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """A SQLite file that is not ours is told by its path, and left as it is."""
    with sqlite3.connect(tmp_path / "engine.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"engine\.db.*something else"):
        Store(tmp_path / "engine.db")
    with sqlite3.connect(tmp_path / "engine.db") as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()
