"""What only a database server does: it goes away, and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
import sqlalchemy as sa

from reconciler.api.types import (
    Ending,
    EndingKind,
    GitSource,
    JobStatus,
    Operation,
    StackRef,
    Step,
)
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.dispatch import Places, Queued, decide
from reconciler.engine.model import (
    Begun,
    CancelAsked,
    Event,
    Record,
    Requeued,
    Superseded,
    Withdrawn,
)
from reconciler.engine.store import DatabaseLostError, Store, StoreError
from reconciler.errors import NotDurableError
from tests.postgres_server import PostgresServer, postgres_server
from tests.waiting import eventually

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


STACK = StackRef("acme", "web", "prod")


def add(store: Store, number: int) -> str:
    """Queue a deployment of one stack, and return its id."""
    return store.deployments.create(STACK, "", partial(make, number, STACK))[0].id


def test_what_goes_back_to_the_queue_meanwhile_keeps_its_place(url: str) -> None:
    """While somebody looks at the queue, a newer one never passes one that returns to it."""
    store, other = open_store(url), open_store(url)
    first = add(store, 1)
    (_, claim), *_ = store.deployments.dispatch(1, lambda *_: [(first, Begun(NOW))])
    add(store, 2)
    looks: list[str] = []

    def go_back(*executed: object) -> None:
        looks.append(str(executed[2]))
        if "deployments" in looks[-1] and sum("deployments" in look for look in looks) == 1:
            other.deployments.apply(first, Requeued(NOW), claim)

    def choose(queued: Sequence[Queued], running: Sequence[StackRef]) -> list[tuple[str, Event]]:
        decision = decide(queued, running, Places(total=9), NOW)
        return [(found, Begun(NOW)) for found in decision.start]

    engine = store._database._writer
    sa.event.listen(engine, "after_cursor_execute", go_back)
    begun = store.deployments.dispatch(1, choose)
    sa.event.remove(engine, "after_cursor_execute", go_back)
    assert "d2" not in {record.id for record, _ in begun}
    (again, _), *_ = store.deployments.dispatch(1, choose)
    assert again.id == first
    for opened in (store, other):
        opened.close()


def test_a_cancel_waits_until_somebody_has_looked(url: str) -> None:
    """One that stands for others is not cancelled after they were skipped, and before it runs."""
    store, other = open_store(url), open_store(url)
    older, newer = add(store, 1), add(store, 2)
    ending = Ending(kind=EndingKind.CANCELED, message="m")
    thread = threading.Thread(
        target=other.deployments.change, args=(newer, lambda record: withdrawn(record, ending))
    )

    def choose(*_: object) -> list[tuple[str, Event]]:
        thread.start()
        eventually(lambda: not thread.is_alive() or waits(url), "the cancel has come, or waits")
        return [(older, Superseded(NOW, ending)), (newer, Begun(NOW))]

    begun = store.deployments.dispatch(1, choose)
    thread.join()
    assert [record.id for record, _ in begun] == [newer]
    found = store.deployments.get(newer)
    assert found is not None
    assert found.cancel_asked
    for opened in (store, other):
        opened.close()


def withdrawn(record: Record, ending: Ending) -> Event:
    """Say how a cancel is recorded."""
    waiting = record.status is JobStatus.NOT_STARTED
    return Withdrawn(NOW, ending) if waiting else CancelAsked(NOW)


def waits(url: str) -> bool:
    """Whether somebody waits for a lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        return bool(found and found[0])


def test_what_nobody_waits_for_may_take_long(url: str) -> None:
    """To measure and delete logs is not cut short as a caller's question is; all else is."""
    store = open_store(url)

    def limits(connection: sa.Connection) -> set[str]:
        names = ("statement_timeout", "idle_in_transaction_session_timeout")
        return {str(connection.exec_driver_sql(f"SHOW {n}").scalar_one()) for n in names}

    database = store._database
    with database.read(long=True) as reading, database.write_rows(long=True) as writing:
        assert limits(reading) == limits(writing) == {"0"}
    with database.read() as reading, database.write_rows() as writing:
        assert limits(reading) == limits(writing) == {"10s", "5s"}
    store.close()


def test_a_claim_holds_until_it_is_taken_over(url: str) -> None:
    """Whoever has a claim can ask whether it is still the newest."""
    store = open_store(url)
    first = add(store, 1)
    (_, claim), *_ = store.deployments.dispatch(1, lambda *_: [(first, Begun(NOW))])
    assert store.deployments.holds(claim)
    assert store.deployments.take_over(claim, 2) is not None
    assert not store.deployments.holds(claim)
    store.close()
