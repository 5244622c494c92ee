from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.engine.config import KeepLogs
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.logs import FileLogs, KeptLog
from reconciler.engine.retention import outdated
from reconciler.engine.store import Claim, Store
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
