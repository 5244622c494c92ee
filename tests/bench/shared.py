"""Queue and logs: how soon something happens, what waiting costs, and how it grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from reconciler.api.client import ApiClient
from reconciler.api.types import (
    DeploymentRequest,
    GitSource,
    Operation,
    Secret,
    StackRef,
    Step,
)
from reconciler.engine.logs import FileLogs, lines
from reconciler.engine.model import Begun, Record, StepSucceeded, advance
from reconciler.engine.store import Claim, PageQuery, Store
from reconciler.engine.store import deployments as deployments_table
from reconciler.engine.store.columns import METADATA
from reconciler.masking import Redactor
from tests.bench.engines import make_repository, serving
from tests.bench.figures import Figure, command, in_turn, percentile, timed
from tests.postgres.cluster import Cluster
from tests.postgres_server import postgres_server

__all__ = ["MEASURES"]

ROUNDS = 10
LINES = 1_000_000
IDLE_S = 20.0
NOW = datetime(2026, 11, 1, tzinfo=UTC)
PROGRAM = "name: bench\nruntime: yaml\n"
BENCH = StackRef("acme", "bench", "dev")


def _request(repository: Path, *commands: str) -> DeploymentRequest[Secret]:
    return DeploymentRequest(
        source=GitSource(repo_url=f"file://{repository}", branch="main"),
        pre_run_commands=commands,
    )


def _first_lines(client: ApiClient, repository: Path) -> list[float]:
    """Return how long each of some creates took to the first line of the clone step."""
    request, found = _request(repository), []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        made = client.create(BENCH, request)
        token, seen, begun = "", 0.0, False
        while True:
            page = client.logs(BENCH, made.id, token)
            begun = begun or any(line.header == "Get Source" for line in page.lines)
            if begun and not seen and page.lines and page.lines[-1].line:
                seen = time.perf_counter() - began
            if not page.next_token:
                break
            token = page.next_token
            # Whoever asks without a pause measures how fast it is told that there is nothing.
            time.sleep(0.005)
        found.append(seen)
    return found


@contextmanager
def _cluster(root: Path) -> Iterator[tuple[Cluster, ApiClient]]:
    with postgres_server() as server:
        cluster = Cluster(root, server.make_database())
        try:
            api = cluster.api()
            cluster.worker().said()
            token = Secret(api.token)
            yield cluster, ApiClient(api.url, lambda: token)
        finally:
            cluster.stop()


def first_line_embedded(root: Path) -> Figure:
    """POST to the first line of the clone step, on SQLite."""
    repository = make_repository(root / "repository", PROGRAM)
    with serving(root / "data", "--runner", "process") as engine:
        found = _first_lines(engine.client, repository)
    p50 = percentile(found, 0.5)
    return Figure("POST to the first line of the clone step, embedded, p50", p50, None, "<= 30 ms")


def first_line_shared(root: Path) -> Figure:
    """POST to the first line of the clone step, by another process, on PostgreSQL."""
    repository = make_repository(root / "repository", PROGRAM)
    with _cluster(root) as (_, client):
        found = _first_lines(client, repository)
    p50 = percentile(found, 0.5)
    return Figure("POST to the first line of the clone step, shared, p50", p50, None, "<= 300 ms")


def follower_lag(root: Path) -> Figure:
    """A line written by a worker, to it being read from another process."""
    repository = make_repository(root / "repository", PROGRAM)
    lags: list[float] = []
    with _cluster(root) as (_, client):
        talk = "for i in $(seq 60); do echo $i; sleep 0.05; done"
        made = client.create(BENCH, _request(repository, talk))
        token = ""
        while True:
            page = client.logs(BENCH, made.id, token)
            now = time.time_ns()
            lags += [(now - x.timestamp_ns) / 1e9 for x in page.lines if x.timestamp_ns]
            if not page.next_token:
                break
            token = page.next_token
            time.sleep(0.005)
    p50 = percentile(lags, 0.5)
    return Figure("a log line written to it being read, shared, p50", p50, None, "<= 50 ms")


def idle_worker(root: Path) -> Figure:
    """What a worker and its guard cost while nothing is to be done."""
    with _cluster(root) as (cluster, _):
        worker = cluster.processes[-1].process.pid
        time.sleep(2)
        before = _cpu_s(worker)
        time.sleep(IDLE_S)
        used = (_cpu_s(worker) - before) / IDLE_S
    return Figure("idle worker on PostgreSQL, processor time a second", used, None, "<= 10 ms")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def million_lines(root: Path) -> Figure:
    """1,000,000 lines through mask and store, over cat into a file."""
    line = b"  +  aws:s3:Bucket my-bucket-0123456789 creating (0s) and so on, to a hundred bytes "
    text = b"".join(line + b"%08d\n" % n for n in range(LINES))
    source = root / "source"
    source.write_bytes(text)
    redactor = Redactor(("a-secret-that-is-not-there", "another-one-of-these"))
    log = FileLogs(root / "logs", time.time_ns, lambda _: None).open(Claim(deployment_id="d1"), 0)
    # A step keeps 64 MiB; here all of it is to be written.
    lines.LARGEST_STEP_BYTES = 10 * len(text)

    def ours() -> None:
        for start in range(0, len(text), 65536):
            log.write(redactor.feed(text[start : start + 65536]))
        log.close()

    measured = timed(ours)
    baseline = timed(lambda: command("sh", "-c", f"cat {source} >{root / 'copy'}", cwd=root))
    rate = f"{len(text) / measured / 1e6:.0f} MB/s; target >= 20 MB/s"
    return Figure("1,000,000 lines through mask and store, over cat", measured, baseline, "", rate)


def _ended(number: int) -> Record:
    record = Record(
        id=f"past-{number}",
        stack=replace(BENCH, stack=f"s{number % 50}"),
        version=1 + number // 50,
        operation=Operation.UPDATE,
        created=NOW,
        modified=NOW,
        source=GitSource(repo_url="https://example.com/r.git", branch="main"),
        steps=(Step(name="Pulumi operation"),),
    )
    return advance(advance(record, Begun(NOW)), StepSucceeded(NOW))


def _store_with(root: Path, count: int) -> Store:
    store = Store(root / f"{count}.db")
    table = METADATA.tables["deployments"]
    with store._database.write() as connection:
        for start in range(0, count, 1000):
            rows = [
                deployments_table._values(_ended(n)) | {"request": b"r" * 500}
                for n in range(start, min(start + 1000, count))
            ]
            connection.execute(sa.insert(table), rows)
        for number in range(50):
            connection.execute(
                sa.text(
                    "INSERT INTO stacks (organization, project, stack, latest_version, initialized)"
                    " VALUES ('acme', 'bench', :stack, :version, true)"
                ),
                {"stack": f"s{number}", "version": count // 50},
            )
    return store


def _lists_and_gets(store: Store) -> None:
    store.deployments.page(PageQuery(organization="acme"))
    store.deployments.page(PageQuery(organization="acme", stack=_ended(1).stack))
    store.deployments.get("past-7")


def _creates(store: Store) -> None:
    past = _ended(1)

    def make(version: int) -> tuple[Record, bytes]:
        return replace(past, id=str(uuid4()), version=version), b"r" * 500

    store.deployments.create(past.stack, "", make)


def _beside_many(root: Path, what: str, action: Callable[[Store], None]) -> Figure:
    """Do something beside 100,000 past deployments, over the same beside 100."""
    few, many = _store_with(root, 100), _store_with(root, 100_000)
    ours, theirs = in_turn(lambda: action(many), lambda: action(few), rounds=50)
    few.close()
    many.close()
    return Figure(f"{what} beside 100,000 past deployments, over 100", ours, theirs, "<= 1.5")


MEASURES = (
    first_line_embedded,
    first_line_shared,
    follower_lag,
    idle_worker,
    million_lines,
    lambda root: _beside_many(root, "list and get", _lists_and_gets),
    lambda root: _beside_many(root, "create", _creates),
)
