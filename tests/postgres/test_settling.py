"""Deployments that nobody runs: of workers that are unknown, and where no worker is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from reconciler.api.types import StackRef
from reconciler.engine.database_url import DatabaseUrl
from reconciler.engine.dispatch import Queued
from reconciler.engine.model import Begun, Event
from reconciler.engine.settling import HAND_OVER
from reconciler.engine.store import SessionLostError, Store
from reconciler.pulumi_cli import PROGRAMS, PulumiCli, find
from tests.engine.harness import NO_INSTALL, Gate, make_repository
from tests.postgres.cluster import Cluster
from tests.postgres.proxy import Network
from tests.postgres.test_faults import STACK, begin, cut_sessions, interrupted, of_deployment
from tests.postgres_server import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.real

NOBODY = 999


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gate").mkdir()
    return Gate(tmp_path / "gate")


@pytest.fixture
def cluster(tmp_path: Path, postgres: PostgresServer) -> Iterator[Cluster]:
    made = Cluster(tmp_path, postgres.make_database(), telling_pulumi(tmp_path))
    yield made
    made.stop()


# It tells where it frees a lock, and can be held up in that: beside the state, which all see.
WRAPPER = """\
#!/bin/sh
case "$1" in cancel)
  state="${{PULUMI_BACKEND_URL#file://}}"
  pwd >>"$state/cancels"
  while [ -e "$state/hold" ]; do sleep 0.02; done
esac
exec "{pulumi}" "$@"
"""


def telling_pulumi(root: Path) -> Path:
    """Make a directory with such a pulumi, to be first on PATH."""
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    (root / "bin").mkdir()
    for name in PROGRAMS[1:]:
        (root / "bin" / name).symlink_to(cli.directory / name)
    program = root / "bin" / PROGRAMS[0]
    program.write_text(WRAPPER.format(pulumi=cli.program))
    program.chmod(0o755)
    return root / "bin"


def cancels(state: Path) -> list[str]:
    """Return the directories in which a lock of this state was freed."""
    told = state / "cancels"
    return told.read_text().splitlines() if told.exists() else []


def url_of(cluster: Cluster) -> str:
    """Return where its database is, password included."""
    url = cluster.database
    return f"postgresql://{url.user}:{url.password}@{url.host}:{url.port}/{url.database}"


def take(cluster: Cluster, worker: int) -> None:
    """Have all that is queued begin, by a worker that does nothing about it."""
    store = Store(cluster.database)

    def choose(
        queued: Sequence[Queued], running: Sequence[StackRef]
    ) -> Iterable[tuple[str, Event]]:
        del running
        return [(q.id, Begun(datetime.now(UTC))) for q in queued]

    assert store.deployments.dispatch(worker, choose)
    store.close()


def test_what_an_unknown_worker_has_is_settled(cluster: Cluster, tmp_path: Path) -> None:
    """A claim that came through after its worker was forgotten is not held for ever."""
    api = cluster.api()
    made = api.create(STACK, make_repository(tmp_path / "r"), options=NO_INSTALL)["id"]
    take(cluster, NOBODY)
    cluster.worker()
    assert api.ended(STACK, made)["status"] == "succeeded"


def test_one_that_cannot_be_settled_keeps_no_other_waiting(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Where settling one fails again and again, those behind it are settled all the same."""
    api = cluster.api()
    repository = make_repository(tmp_path / "r")
    broken, made = (
        api.create(f"acme/web/{name}", repository, options=NO_INSTALL)["id"]
        for name in ("broken", "whole")
    )
    take(cluster, NOBODY)
    with psycopg.connect(url_of(cluster), autocommit=True) as database:
        database.execute("UPDATE deployments SET steps = 'x' WHERE id = %s", (broken,))
    cluster.worker()
    assert api.ended("acme/web/whole", made)["status"] == "succeeded"


def test_without_a_worker_who_answers_settles(cluster: Cluster, gate: Gate, tmp_path: Path) -> None:
    """When the last worker is gone, what it ran is told as interrupted, and its lock is freed."""
    api = cluster.api()
    worker = cluster.worker()
    made = begin(api, gate, tmp_path)
    worker.kill()
    interrupted(api, made)
    assert "the stack's lock was freed\n" in api.log(STACK, made)


def test_a_lost_worker_frees_no_lock(cluster: Cluster, gate: Gate, tmp_path: Path) -> None:
    """Who has lost its session only kills: the lock is freed once, by whoever takes over."""
    api = cluster.api()
    cluster.worker()
    made = begin(api, gate, tmp_path)
    cut_sessions(url_of(cluster))
    interrupted(api, made)
    assert "the stack's lock was freed\n" in api.log(STACK, made)
    freed = cancels(cluster.data / "backends" / "acme")
    assert len(freed) == 1
    assert not freed[0].endswith("/source")


def test_who_hangs_while_it_settles_is_ended(cluster: Cluster, gate: Gate, tmp_path: Path) -> None:
    """A worker that is stopped in the middle of settling is killed before others take over.

    It would wake up and free the lock of the stack's next deployment.
    """
    api = cluster.api()
    worker = cluster.worker()
    made = begin(api, gate, tmp_path)
    worker.kill()
    state = cluster.data / "backends" / "acme"
    (state / "hold").touch()
    second = cluster.worker()
    eventually(lambda: cancels(state), "the lock is being freed")
    os.kill(second.process.pid, signal.SIGSTOP)
    try:
        assert second.process.wait(30) == -signal.SIGKILL
    finally:
        if second.process.poll() is None:
            os.kill(second.process.pid, signal.SIGCONT)
    eventually(lambda: of_deployment(made) == [], "nothing of it is left")
    (state / "hold").unlink()
    cluster.worker()
    interrupted(api, made)


def test_a_session_that_is_to_end_is_not_opened(postgres: PostgresServer) -> None:
    """A process that ends while it connects again does not wait for ever for its new session."""
    store = Store(DatabaseUrl.parse(postgres.make_database(), may_hold_password=True))
    session = store.session()
    assert session is not None
    session.end()
    with pytest.raises(SessionLostError, match="to end"):
        session.open(None)
    store.close()


def test_another_host_takes_over_after_a_time(cluster: Cluster, gate: Gate, tmp_path: Path) -> None:
    """A worker that is cut off has ended what it ran before one elsewhere settles it."""
    cluster.options = ("--backend", f"file://{tmp_path / 'state'}")
    api = cluster.api()
    with Network(cluster.database.port or 5432) as network:
        cut_off = cluster.elsewhere("a", network.port)
        made = begin(api, gate, tmp_path)
        queued = api.create(STACK, tmp_path / "repository", operation="refresh", options=NO_INSTALL)
        cluster.elsewhere("b").said()
        began = time.monotonic()
        network.fall_silent()
        interrupted(api, made)
        took_s = time.monotonic() - began
        # On a busy machine its guard may end it first, which others of the same machine see.
        ended = cut_off.process.poll() is not None
        assert took_s >= HAND_OVER.total_seconds() or ended
        assert len(cancels(tmp_path / "state" / "acme")) == 1
        gate.open("op")
        assert api.ended(STACK, queued["id"])["status"] == "succeeded"
        network.come_back()
        again = api.create(STACK, tmp_path / "repository", operation="refresh", options=NO_INSTALL)
        assert api.ended(STACK, again["id"])["status"] == "succeeded"
        interrupted(api, made)
        assert ended or cut_off.stop() == 0
