"""What only a database server does: it goes away, and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest

from reconciler.api.types import GitSource, Operation, StackRef, Step
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.model import Record
from reconciler.engine.store import DatabaseLostError, Store, StoreError
from reconciler.errors import NotDurableError
from tests.engine.harness import eventually
from tests.postgres_server import PostgresServer, postgres_server

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(own: PostgresServer) -> str:
    return own.make_database()


def open_store(url: str) -> Store:
    return Store(DatabaseUrl.parse(url, may_hold_password=True))


def test_a_server_that_is_back_is_used_again(own: PostgresServer, url: str) -> None:
    """While it is gone reads and writes say so; afterwards they go on by themselves."""
    store = open_store(url)
    store.facts.get_or_make("a", lambda: b"1")
    own.stop()
    with pytest.raises(DatabaseLostError):
        store.facts.get("a")
    with pytest.raises(NotDurableError):
        store.facts.get_or_make("b", lambda: b"2")
    own.start()
    assert store.facts.get("a") == b"1"
    assert store.facts.get_or_make("b", lambda: b"2") == b"2"
    store.close()


def test_cut_connections_are_replaced(url: str) -> None:
    """Connections that somebody ended while they were idle cost nobody an error."""
    store = open_store(url)
    store.facts.get_or_make("a", lambda: b"1")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert store.facts.get("a") == b"1"
    assert store.facts.get_or_make("b", lambda: b"2") == b"2"
    store.close()


def test_a_server_that_is_not_there_is_told_without_the_password(own: PostgresServer) -> None:
    """A start without a database names it, and no secret."""
    url = DatabaseUrl.parse("postgresql://ann:s3cr3t@127.0.0.1:1/x", may_hold_password=True)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1") as refused:
        Store(url)
    assert "s3cr3t" not in str(refused.value)
    wrong = DatabaseUrl.parse(own.url().replace(own.password, "s3cr3t"), may_hold_password=True)
    with pytest.raises(StoreError, match="password authentication failed") as refused:
        Store(wrong)
    assert "s3cr3t" not in str(refused.value)


def test_one_that_stops_in_a_write_does_not_stop_all(url: str) -> None:
    """A writer that hangs in its transaction loses it within seconds, and others go on."""
    hanging, other = open_store(url), open_store(url)
    entered, leave = threading.Event(), threading.Event()
    lost: list[Exception] = []

    def hang() -> None:
        def make() -> bytes:
            entered.set()
            leave.wait(60)
            return b"1"

        try:
            hanging.facts.get_or_make("a", make)
        except NotDurableError as error:
            lost.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    assert entered.wait(30)

    def write() -> bool:
        try:
            return other.facts.get_or_make("a", lambda: b"2") == b"2"
        except NotDurableError:
            return False

    eventually(write, "the other writes")
    leave.set()
    thread.join()
    assert len(lost) == 1
    assert hanging.facts.get("a") == b"2"
    hanging.close()
    other.close()


def make(number: int, stack: StackRef, version: int) -> tuple[Record, bytes]:
    """Make a deployment."""
    record = Record(
        id=f"d{number}",
        stack=stack,
        version=version,
        operation=Operation.UPDATE,
        created=NOW,
        modified=NOW,
        source=GitSource(repo_url="https://example.com/r.git", branch="main"),
        steps=(Step(name="Get source"), Step(name="Pulumi operation")),
    )
    return record, b""


def test_creates_beside_one_another_keep_order(url: str) -> None:
    """Creates by many processes' pools count versions without gaps, in the order of sequences."""
    stores = [open_store(url) for _ in range(3)]

    def create(store: Store, start: int) -> None:
        for number in range(start, start + 10):
            stack = StackRef("acme", "web", f"s{number % 3}")
            store.deployments.create(
                stack,
                "",
                partial(make, number, stack),
            )

    threads = [
        threading.Thread(target=create, args=(store, 10 * n)) for n, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("s0", "s1", "s2"):
        stack = StackRef("acme", "web", name)
        found = [
            record
            for version in range(1, 11)
            if (record := stores[0].deployments.get_version(stack, version)) is not None
        ]
        assert len(found) == 10
        assert [r.sequence for r in found] == sorted(r.sequence for r in found)
    for store in stores:
        store.close()
