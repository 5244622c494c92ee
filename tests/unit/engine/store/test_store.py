from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from reconciler.api.types import (
    Ending,
    EndingKind,
    GitSource,
    JobStatus,
    Operation,
    ShownVariable,
    StackRef,
    Step,
    User,
)
from reconciler.engine.model import Begun, Record, StepFailed, StepSucceeded, Withdrawn
from reconciler.engine.store import (
    DatabaseLostError,
    PageQuery,
    StackInfo,
    Store,
    StoreError,
    deployments,
)
from reconciler.errors import NotDurableError

NOW = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
WEB = StackRef("acme", "web", "prod")
DB = StackRef("acme", "db", "prod")


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    """A database in a file."""
    opened = Store(tmp_path / "engine.db")
    yield opened
    opened.close()


def make_record(deployment_id: str, stack: StackRef, version: int, marker: str = "") -> Record:
    return Record(
        id=deployment_id,
        stack=stack,
        version=version,
        operation=Operation.REFRESH,
        created=NOW + timedelta(minutes=version),
        modified=NOW,
        requested_by=User(name="Ann", github_login="ann", email="ann@example.com"),
        initiator="cli",
        marker=marker,
        environment=(
            ShownVariable(name="A", value="ü"),
            ShownVariable(name="S", secret=True),
        ),
        source=GitSource(repo_url="https://example.com/r.git", tag="v1", repo_dir="infra"),
        steps=(Step(name="Get source"), Step(name="Pulumi operation")),
    )


def add(store: Store, deployment_id: str, stack: StackRef = WEB, marker: str = "") -> Record:
    return store.deployments.create(
        stack, marker, lambda version: (make_record(deployment_id, stack, version, marker), b"r")
    )[0]


def test_a_deployment_comes_back_as_it_was(store: Store) -> None:
    """Everything of a record survives the database, also in another process's eyes."""
    record = add(store, "d1", marker="RECONCILER_RUN_a")
    assert record.sequence == 1
    assert store.deployments.get("d1") == record
    assert store.deployments.get_version(WEB, 1) == record
    assert store.deployments.get("d2") is None
    assert store.deployments.get_version(WEB, 2) is None
    assert store.deployments.request("d1") == b"r"


def test_versions_count_per_stack(store: Store) -> None:
    """Each stack counts its own deployments from 1; the order of creates is over all."""
    records = [add(store, "d1"), add(store, "d2", DB), add(store, "d3")]
    assert [r.version for r in records] == [1, 1, 2]
    assert [r.sequence for r in records] == [1, 2, 3]
    info = store.stacks.get(WEB)
    assert info is not None
    assert info.latest_version == 2


def test_many_at_once_get_different_versions(store: Store) -> None:
    """Creates from many threads leave no gap and no double."""
    threads = [threading.Thread(target=add, args=(store, f"d{n}")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records, total = store.deployments.page(
        PageQuery(organization="acme", stack=WEB, page_size=100)
    )
    assert total == 20
    assert sorted(r.version for r in records) == list(range(1, 21))


def test_a_known_marker_makes_nothing_new(store: Store) -> None:
    """A create with a marker that the stack has is answered with the first, version included."""
    first = add(store, "d1", marker="RECONCILER_RUN_a")
    second, new = store.deployments.create(
        WEB, "RECONCILER_RUN_a", lambda _: pytest.fail("it was made")
    )
    assert (second, new) == (first, False)
    assert add(store, "d2", DB, marker="RECONCILER_RUN_a").version == 1
    assert add(store, "d3").version == 2


def test_events_are_kept(store: Store) -> None:
    """What happens to a deployment is there after the database is opened again."""
    add(store, "d1")
    ending = Ending(kind=EndingKind.INTERRUPTED, message="lost")
    store.deployments.apply("d1", Begun(NOW))
    store.deployments.apply("d1", StepSucceeded(NOW + timedelta(seconds=1)))
    record = store.deployments.apply("d1", StepFailed(NOW + timedelta(seconds=2), ending))
    assert record.status is JobStatus.FAILED
    assert store.deployments.get("d1") == record
    assert record.ending == ending


def test_a_change_may_be_none(store: Store) -> None:
    """Whoever looks may decide that nothing happens; an unknown deployment is an error."""
    record = add(store, "d1")
    assert store.deployments.change("d1", lambda _: None) == (record, None)
    with pytest.raises(LookupError):
        store.deployments.apply("d9", Begun(NOW))
    with pytest.raises(LookupError):
        store.deployments.request("d9")


def test_queued_and_running_ones_are_found(store: Store) -> None:
    """The queue is in the order of the creates, and holds neither running nor ended ones."""
    for name in ("d1", "d2", "d3", "d4"):
        add(store, name)
    store.deployments.apply("d1", Begun(NOW))
    store.deployments.apply("d3", Withdrawn(NOW, Ending(kind=EndingKind.CANCELED, message="x")))
    assert [q.id for q in store.deployments.queued()] == ["d2", "d4"]
    assert [r.id for r in store.deployments.running()] == ["d1"]


def test_pages_of_a_stack_and_of_an_organization(store: Store) -> None:
    """A list is of one stack or of a whole organization, sorted, one page of it."""
    for number in range(5):
        add(store, f"w{number}")
    add(store, "b0", DB)
    add(store, "o0", StackRef("other", "web", "prod"))

    def ids(query: PageQuery) -> list[str]:
        return [r.id for r in store.deployments.page(query)[0]]

    assert ids(PageQuery(organization="acme", stack=WEB, page_size=2)) == ["w4", "w3"]
    assert ids(PageQuery(organization="acme", stack=WEB, page=3, page_size=2)) == ["w0"]
    assert ids(PageQuery(organization="acme", stack=WEB, page=9)) == []
    assert ids(PageQuery(organization="acme", ascending=True))[-1] == "b0"
    store.deployments.apply("w2", Begun(NOW + timedelta(hours=1)))
    assert ids(PageQuery(organization="acme", stack=WEB, sort="modified"))[0] == "w2"
    assert ids(PageQuery(organization="acme", stack=WEB, sort="status"))[0] == "w2"
    assert store.deployments.page(PageQuery(organization="acme"))[1] == 6
    assert store.deployments.page(PageQuery(organization="acme", stack=WEB))[1] == 5
    assert store.deployments.page(PageQuery(organization="nobody"))[1] == 0
    store.forget_stack(WEB, 5)
    assert store.deployments.page(PageQuery(organization="acme"))[1] == 6


def test_the_newest_of_each_stack_is_found(store: Store) -> None:
    """Of each stack that was ever deployed and is still there, the newest deployment is told."""
    other = StackRef("other", "web", "prod")
    for number, stack in enumerate((WEB, WEB, DB, other), start=1):
        add(store, f"d{number}", stack)
    store.stacks.make(StackRef("acme", "new", "prod"))
    store.deployments.apply("d2", Begun(NOW))
    ending = Ending(kind=EndingKind.INTERRUPTED, message="the worker was lost")
    store.deployments.apply("d2", StepFailed(NOW + timedelta(seconds=9), ending))

    def told(organization: str) -> list[tuple[str, int, str, str]]:
        found = store.deployments.newest(organization)
        return sorted((str(n.stack), n.version, n.status, n.ending_message) for n in found)

    db = ("acme/db/prod", 1, "not-started", "")
    web = ("acme/web/prod", 2, "failed", "the worker was lost")
    assert told("acme") == [db, web]
    assert told("") == [db, web, ("other/web/prod", 1, "not-started", "")]
    store.forget_stack(DB, 1)
    assert told("acme") == [web]


def test_a_create_does_not_read_what_has_ended(file_store: Store) -> None:
    """How many wait is asked of the index of what waits, however many an organization has had."""
    dialect = sqlite.dialect()
    query = deployments._count_waiting("acme").compile(
        dialect=dialect, compile_kwargs={"literal_binds": True}
    )
    with file_store._database.read() as connection:
        plan = connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query}")).all()
    assert "deployments_by_status" in str(plan)
    assert "deployments_by_organization" not in str(plan)


def test_a_deleted_stack_that_is_deployed_meanwhile_stays(store: Store) -> None:
    """What came after the last deployment of a deleted stack is of a new one, with all it has."""
    add(store, "d1")
    store.stacks.mark_initialized(WEB)
    add(store, "d2")
    store.forget_stack(WEB, 1)
    assert store.stacks.get(WEB) == StackInfo(latest_version=2, initialized=False)
    store.forget_stack(WEB, 2)
    assert store.stacks.get(WEB) is None
    assert add(store, "d3").version == 3


def test_stacks_are_made_once(store: Store) -> None:
    """A stack can be made known before its first deployment, once; then it is remembered."""
    assert store.stacks.get(WEB) is None
    assert store.stacks.make(WEB)
    assert not store.stacks.make(WEB)
    assert add(store, "d1").version == 1
    assert not store.stacks.make(WEB)
    store.stacks.mark_initialized(WEB)
    info = store.stacks.get(WEB)
    assert info is not None
    assert info.initialized
    assert store.stacks.organizations() == ("acme",)


def test_facts_are_made_once(store: Store) -> None:
    """A fact has the value that was made first."""
    assert store.facts.get("a") is None
    assert store.facts.get_or_make("a", lambda: b"1") == b"1"
    assert store.facts.get_or_make("a", lambda: b"2") == b"1"
    assert store.facts.get("a") == b"1"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A damaged database is told by its path, not by a traceback."""
    (tmp_path / "engine.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match=r"engine\.db"):
        Store(tmp_path / "engine.db")


def test_a_write_that_cannot_be_made_durable_is_told(file_store: Store) -> None:
    """Where the disk does not take a write, nothing has changed and the caller knows."""
    store = file_store
    record = add(store, "d1")

    def bound(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 40")

    store._database._reader.dispose()
    sa.event.listen(store._database._reader, "connect", bound)
    with pytest.raises(NotDurableError):
        store.facts.get_or_make("large", lambda: b"x" * 1_000_000)
    assert store.deployments.get("d1") == record


def test_a_read_that_cannot_be_done_is_told(file_store: Store, tmp_path: Path) -> None:
    """Also where the driver itself is asked, a database that cannot be read is said to be lost."""
    assert file_store.tokens.get("none") is None
    beside = sqlite3.connect(tmp_path / "engine.db")
    beside.execute("ALTER TABLE tokens RENAME TO elsewhere")
    beside.close()
    with pytest.raises(DatabaseLostError, match="cannot be read: no such table: tokens"):
        file_store.tokens.get("none")


def test_the_database_is_its_owner_s_alone(file_store: Store, tmp_path: Path) -> None:
    """Neither the database nor the files beside it can be read by others."""
    add(file_store, "d1")
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_the_disk_is_waited_for(file_store: Store) -> None:
    """Commits are synchronous: what was answered survives a power cut."""
    with file_store._database._reader.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_the_same_id_twice_is_refused(store: Store) -> None:
    """The database itself keeps ids, versions and markers unique."""
    record = add(store, "d1")
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.deployments.create(WEB, "", lambda _: (replace(record, version=9), b""))


def test_who_opens_a_new_database_waits_for_another_writer(tmp_path: Path) -> None:
    """A database that another process makes just now is waited for, and not refused."""
    path = tmp_path / "engine.db"
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE other (x)")
        opened: list[Store] = []
        thread = threading.Thread(target=lambda: opened.append(Store(path)))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        other.execute("ROLLBACK")
    other.close()
    thread.join(20)
    assert len(opened) == 1
    opened[0].close()
