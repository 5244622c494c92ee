from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from reconciler.api.types import StackRef
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.sealing import KEY_CHECK, box_of, change_key, key_file
from reconciler.engine.secrets_box import KeyFileError, SecretBox, read_keys, write_keys
from reconciler.engine.store import Store, sealed
from reconciler.engine.store.columns import METADATA
from tests.postgres_server import PostgresServer

MANY = 450  # more than are written together
FACTS = METADATA.tables["facts"]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database with many secrets, sealed with the key in `key`."""
    where: Path | DatabaseUrl = tmp_path / "engine.db"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        where = DatabaseUrl.parse(server.make_database(), may_hold_password=True)
    store = Store(where)
    box = box_of(store, tmp_path / "key")
    names = [f"passphrase/acme/web/{number}" for number in range(MANY)]
    rows = [{"name": name, "value": box.encrypt(name.encode(), name)} for name in names]
    with store._database.write() as connection:
        connection.execute(sa.insert(FACTS), rows)
    stack = StackRef("acme", "web", "dev")
    store.settings.change(stack, lambda _: box.encrypt(b"settings", f"settings/{stack}"))
    yield store
    store.close()


def opens(store: Store, box: SecretBox) -> int:
    """Return how many secrets open."""
    count = 0
    with store._database.read() as connection:
        rows = connection.execute(sa.select(FACTS)).all()
    for name, value in rows:
        if not name.startswith("passphrase/"):
            continue
        try:
            count += box.decrypt(bytes(value), name) == name.encode()
        except KeyFileError:
            continue
    return count


def test_every_column_of_bytes_is_known() -> None:
    """What holds bytes is listed as encrypted, so that a change of the key forgets none."""
    columns = {
        (table.name, column.name)
        for table in METADATA.tables.values()
        for column in table.columns
        if isinstance(column.type, sa.LargeBinary)
    }
    columns.remove(("log_parts", "entries"))  # logs are masked, and shown to whoever may read
    assert columns == {(column.table, column.column) for column in sealed.SEALED}


def test_a_new_key_opens_everything_and_the_old_one_nothing(store: Store, tmp_path: Path) -> None:
    """After a change the file has one key, all secrets open with it and none with the old."""
    path = tmp_path / "key"
    (old,) = read_keys(path)
    changed = change_key(store, path)
    assert (changed.renewed, changed.damaged) == (MANY + 2, 0)
    (new,) = read_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert opens(store, SecretBox(new)) == MANY
    assert opens(store, SecretBox(old)) == 0
    stored = store.settings.get(StackRef("acme", "web", "dev"))
    assert stored is not None
    assert SecretBox(new).decrypt(stored.sealed, "settings/acme/web/dev") == b"settings"
    box_of(store, path)


@pytest.mark.parametrize("after", [0, 1, 199, 200, 201, MANY])
def test_a_change_that_was_broken_off_goes_on(store: Store, tmp_path: Path, after: int) -> None:
    """Wherever it dies, everything opens with the file as it is, and the next one finishes."""
    path = tmp_path / "key"
    (old,) = read_keys(path)
    new = b"n" * 32
    write_keys(path, new, old)
    box, left = SecretBox(new, old), after

    def dies(value: bytes, context: str) -> bytes | None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return box.renewed(value, context)

    with pytest.raises(KeyboardInterrupt):
        store.sealed.rewrite(dies)
    assert opens(store, box_of(store, path)) == MANY
    change_key(store, path)
    assert read_keys(path) == (new,)
    assert opens(store, SecretBox(new)) == MANY


def test_a_damaged_value_is_told_and_left(store: Store, tmp_path: Path) -> None:
    """One that opens with no key stops nothing, and is counted."""
    value = store.facts.get("passphrase/acme/web/7")
    assert value is not None
    store.facts.replace("passphrase/acme/web/7", value, b"\x01 damaged")
    assert change_key(store, tmp_path / "key").damaged == 1
    assert opens(store, box_of(store, tmp_path / "key")) == MANY - 1


def test_another_database_s_key_changes_nothing(store: Store, tmp_path: Path) -> None:
    """A key file that does not belong to the database is refused before anything is written."""
    other = tmp_path / "other"
    write_keys(other, b"o" * 32)
    with pytest.raises(KeyFileError):
        change_key(store, other)
    assert read_keys(other) == (b"o" * 32,)
    assert store.facts.get(KEY_CHECK) is not None


def test_which_key_file_it_is(tmp_path: Path) -> None:
    """The one that is given, then systemd's credential, then the data directory's own."""
    usual, given = tmp_path / "engine.key", tmp_path / "given"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    around = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert key_file(None, usual, around) == usual
    assert key_file(None, usual, {}) == usual
    (credentials / "engine.key").touch()
    assert key_file(None, usual, around) == credentials / "engine.key"
    assert key_file(given, usual, around) == given
