from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from reconciler.api.types import GitSource, Operation, StackRef, Step
from reconciler.engine.config import EngineConfig, KeepLogs
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.logs import FileLogs, KeptLog, SharedLogs
from reconciler.engine.model import Begun, Event, Record, Requeued, StepFailed
from reconciler.engine.retention import outdated, sweep
from reconciler.engine.store import Claim, Store
from reconciler.engine.tools import Tools
from tests.fakes.world import SimClock
from tests.postgres_server import PostgresServer

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FOR_EVER = timedelta(0)


def logs(*ages_days: int, size_bytes: int = 10) -> list[KeptLog]:
    """Make logs that are named after their age."""
    return [
        KeptLog(deployment_id=f"d{age}", written=NOW - timedelta(days=age), size_bytes=size_bytes)
        for age in ages_days
    ]


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (KeepLogs(age=FOR_EVER, size_bytes=0), ()),
        (KeepLogs(age=timedelta(days=3), size_bytes=0), ("d9", "d5")),
        (KeepLogs(age=FOR_EVER, size_bytes=20), ("d9", "d5")),
        (KeepLogs(age=timedelta(days=3), size_bytes=10), ("d9", "d5", "d1")),
        (KeepLogs(age=timedelta(days=9), size_bytes=40), ()),
        (KeepLogs(age=FOR_EVER, size_bytes=5), ("d9", "d5", "d1", "d0")),
    ],
)
def test_the_oldest_go_first(keep: KeepLogs, gone: tuple[str, ...]) -> None:
    """What is too old goes, and of the rest the oldest, until all together are small enough."""
    assert outdated(logs(1, 9, 0, 5), NOW, keep) == gone


def test_files_are_counted_and_deleted(tmp_path: Path) -> None:
    """A deployment's log is all of its steps; another one's stays."""
    kept = FileLogs(tmp_path / "logs", lambda: 1, lambda _: None)
    assert kept.kept() == ()
    (tmp_path / "logs").mkdir()
    for deployment_id in ("a", "b"):
        for step in (0, 1):
            log = kept.open(Claim(deployment_id=deployment_id), step)
            log.note("text")
            log.close()
    found = {log.deployment_id: log for log in kept.kept()}
    assert set(found) == {"a", "b"}
    assert found["a"].size_bytes == sum(p.stat().st_size for p in (tmp_path / "logs/a").iterdir())
    kept.forget(["a"])
    assert [log.deployment_id for log in kept.kept()] == ["b"]


def test_a_shared_database_without_logs_has_nothing_to_delete(postgres: PostgresServer) -> None:
    """The sizes of no logs are none, and to forget unknown ones harms nothing."""
    store = Store(DatabaseUrl.parse(postgres.make_database(), may_hold_password=True))
    assert store.log_parts.sizes() == ()
    store.log_parts.forget(["d1"])
    store.close()


def test_a_shared_database_keeps_what_it_should(postgres: PostgresServer) -> None:
    """What ended long ago goes, then the oldest of too much; what runs or waits stays."""
    store = Store(DatabaseUrl.parse(postgres.make_database(), may_hold_password=True))
    shared = SharedLogs(store.log_parts, lambda: 1)
    ages = {"old": 100, "running": 99, "waiting": 98, "large": 9, "small": 5, "new": 0}
    for name, age in ages.items():
        end = NOW - timedelta(days=age)
        store.deployments.create(StackRef("acme", "web", name), "", partial(make, name, end))
        event: list[tuple[str, Event]] = [(name, Begun(end))]
        (_, claim), *_ = store.deployments.dispatch(1, lambda *_, event=event: event)
        log = shared.open(claim, 0)
        log.write(b"a line of some length\n" * (2000 if name == "large" else 20))
        log.close()
        if name not in {"running", "waiting"}:
            store.deployments.apply(name, StepFailed(end), claim)
        if name == "waiting":
            store.deployments.apply(name, Requeued(end), claim)
    assert {log.deployment_id for log in shared.kept()} == set(ages)
    assert sweep(tools(store, shared, KeepLogs(age=timedelta(days=90), size_bytes=0))) == 1
    assert {log.deployment_id for log in shared.kept()} == set(ages) - {"old"}
    assert sweep(tools(store, shared, KeepLogs(age=FOR_EVER, size_bytes=10_000))) == 1
    assert {log.deployment_id for log in shared.kept()} == set(ages) - {"old", "large"}
    assert shared.page("small", 0, 0, 100)[0]
    assert shared.page("large", 0, 0, 100)[0] == ()
    store.close()


def make(name: str, at: datetime, version: int) -> tuple[Record, bytes]:
    """Make a deployment."""
    record = Record(
        id=name,
        stack=StackRef("acme", "web", name),
        version=version,
        operation=Operation.UPDATE,
        created=at,
        modified=at,
        source=GitSource(repo_url="https://example.com/r.git", branch="main"),
        steps=(Step(name="Get source"), Step(name="Pulumi operation")),
    )
    return record, b""


def tools(store: Store, shared: SharedLogs, keep: KeepLogs) -> Tools:
    """Return as much of an engine as deletes logs."""
    clock = SimClock(time=NOW)
    config = EngineConfig(data=Path("unused"), keep_logs=keep)
    return cast("Tools", SimpleNamespace(store=store, logs=shared, clock=clock, config=config))
