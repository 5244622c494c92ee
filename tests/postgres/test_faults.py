"""A worker that hangs, a session that is cut, a database that goes away in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.engine.harness import NO_INSTALL, Api, Gate, make_repository, make_slow_repository
from tests.postgres.cluster import Cluster
from tests.postgres_server import PostgresServer, postgres_server
from tests.waiting import eventually

pytestmark = pytest.mark.real

STACK = "acme/web/dev"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gate").mkdir()
    return Gate(tmp_path / "gate")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def cluster(tmp_path: Path, postgres: PostgresServer) -> Iterator[Cluster]:
    made = Cluster(tmp_path, postgres.make_database())
    yield made
    made.stop()


def of_deployment(deployment_id: str) -> list[int]:
    """Return the processes of a deployment, by the id in their environment."""
    marker = f"PULUMI_CI_BUILD_ID={deployment_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def begin(api: Api, gate: Gate, root: Path) -> str:
    """Have a deployment wait in its Pulumi operation, and return its id."""
    repository = make_slow_repository(root / "repository", gate, "op")
    made: str = api.create(STACK, repository, options=NO_INSTALL)["id"]
    gate.begun("op")
    assert of_deployment(made)
    return made


def interrupted(api: Api, deployment_id: str) -> None:
    """Wait until a deployment is told as interrupted, with nothing left of it."""
    ended = api.ended(STACK, deployment_id)
    assert ended["ending"]["kind"] == "interrupted", ended
    assert "pending operations may exist" in ended["ending"]["message"]
    assert of_deployment(deployment_id) == []


def cut_sessions(url: str) -> None:
    """Cut the sessions of all workers, as an administrator can."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l, workers w "
            "WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.objid = w.number "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )


def test_a_stopped_worker_is_ended_by_its_guard(
    cluster: Cluster, gate: Gate, tmp_path: Path
) -> None:
    """A worker that is stopped for too long is killed, with its programs: it wakes up to none."""
    api = cluster.api()
    worker = cluster.worker()
    made = begin(api, gate, tmp_path)
    os.kill(worker.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert worker.process.wait(60) == -signal.SIGKILL
    assert time.monotonic() - began > 5
    eventually(lambda: of_deployment(made) == [], "nothing of it is left")
    assert api.deployment(STACK, made)["status"] == "running"
    cluster.worker()
    interrupted(api, made)


def test_a_short_stop_harms_nothing(cluster: Cluster, gate: Gate, tmp_path: Path) -> None:
    """A worker that stands still for a moment goes on, and its deployment succeeds."""
    api = cluster.api()
    worker = cluster.worker()
    made = begin(api, gate, tmp_path)
    os.kill(worker.process.pid, signal.SIGSTOP)
    threading.Event().wait(2)  # what is tested is a time that passes
    os.kill(worker.process.pid, signal.SIGCONT)
    gate.open("op")
    assert api.ended(STACK, made)["status"] == "succeeded"


def test_a_cut_session_ends_what_runs_first(
    cluster: Cluster, gate: Gate, tmp_path: Path, postgres: PostgresServer
) -> None:
    """The worker kills its programs, comes back as a new one, and goes on with the next."""
    api = cluster.api()
    worker = cluster.worker()
    made = begin(api, gate, tmp_path)
    cut_sessions(postgres.url(cluster.database.database))
    interrupted(api, made)
    assert worker.process.poll() is None
    gate.open("op")
    again = api.create(STACK, tmp_path / "repository", operation="refresh", options=NO_INSTALL)[
        "id"
    ]
    assert api.ended(STACK, again)["status"] == "succeeded", api.log(STACK, again)


def test_before_the_operation_it_goes_back_to_the_queue(
    cluster: Cluster, gate: Gate, tmp_path: Path, postgres: PostgresServer
) -> None:
    """One that had not begun its operation is run again by the worker's next life, and succeeds."""
    api = cluster.api()
    cluster.worker()
    repository = make_slow_repository(tmp_path / "repository", gate, "op")
    gate.open("op")
    command = f"echo x >>{gate.directory}/count; {gate.waits('pre')}"
    made = api.create(STACK, repository, preRunCommands=[command], options=NO_INSTALL)["id"]
    gate.begun("pre")
    cut_sessions(postgres.url(cluster.database.database))
    count = gate.directory / "count"
    eventually(lambda: count.read_text() == "x\nx\n", "it has begun anew")
    gate.open("pre")
    assert api.ended(STACK, made)["status"] == "succeeded"
    assert "it goes back to the queue" in "".join(api.log(STACK, made))


def test_a_database_that_goes_away_and_comes_back(
    gate: Gate, tmp_path: Path, server: PostgresServer
) -> None:
    """Calls are answered with 503 meanwhile, what ran is interrupted, and all goes on by itself."""
    cluster = Cluster(tmp_path, server.make_database())
    try:
        _goes_away(cluster, gate, server)
    finally:
        cluster.stop()


def _goes_away(cluster: Cluster, gate: Gate, server: PostgresServer) -> None:
    api = cluster.api()
    cluster.worker()
    made = begin(api, gate, cluster.write)
    path = f"{api.path(STACK)}/{made}"
    server.stop()
    eventually(lambda: of_deployment(made) == [], "the worker has killed what it ran")
    assert api.session.get(api.url + path, timeout=60).status_code == 503
    server.start()
    eventually(lambda: api.session.get(api.url + path, timeout=60).status_code == 200, "it is back")
    interrupted(api, made)
    gate.open("op")
    again = api.create(
        STACK, cluster.write / "repository", operation="refresh", options=NO_INSTALL
    )["id"]
    assert api.ended(STACK, again)["status"] == "succeeded", api.log(STACK, again)


def test_a_cancel_reaches_the_worker(cluster: Cluster, gate: Gate, tmp_path: Path) -> None:
    """A cancel that one process takes ends what another one runs."""
    api = cluster.api()
    cluster.worker()
    repository = make_slow_repository(tmp_path / "repository", gate, "op")
    command = gate.waits("pre")
    made = api.create(STACK, repository, preRunCommands=[command], options=NO_INSTALL)["id"]
    gate.begun("pre")
    assert api.cancel(STACK, made) == 200
    assert api.ended(STACK, made)["ending"]["kind"] == "canceled"
    assert api.log(STACK, made)[-1] == "the deployment was canceled\n"


def test_a_database_that_answers_late_fails_nothing(
    cluster: Cluster, tmp_path: Path, postgres: PostgresServer
) -> None:
    """A deployment that has begun waits for a database that answers nothing for a moment."""
    api = cluster.api()
    cluster.worker()
    with psycopg.connect(postgres.url(cluster.database.database)) as blocking:
        blocking.execute("LOCK TABLE log_parts IN ACCESS EXCLUSIVE MODE")
        made = api.create(STACK, make_repository(tmp_path / "r"), options=NO_INSTALL)["id"]

        def has_waited() -> bool:
            ended = api.deployment(STACK, made)["status"] not in {"not-started", "running"}
            return ended or "trying again" in cluster.log.read_text()

        eventually(has_waited, "it asks again")
    assert api.ended(STACK, made)["status"] == "succeeded"
