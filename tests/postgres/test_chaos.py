"""Workers, or the one engine, are killed again and again: all deployments end, and run once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from tests.engine.harness import NO_INSTALL, Api, make_repository
from tests.postgres.cluster import Alone, Cluster, Process, watched_pulumi
from tests.postgres_server import PostgresServer
from tests.waiting import eventually

pytestmark = pytest.mark.real

# The long form is 40 stacks and 400 deployments, with a kill every 2 seconds.
STACKS = int(os.environ.get("CHAOS_STACKS", "6"))
DEPLOYMENTS = int(os.environ.get("CHAOS_DEPLOYMENTS", "24"))
KILL_EVERY_S = float(os.environ.get("CHAOS_KILL_EVERY_S", "1.5"))
# So many, then the rest may end in peace: on a slow machine nothing could end between two kills.
KILLS = int(os.environ.get("CHAOS_KILLS", "12"))
WORKERS = 4

# A deployment takes a second on an idle machine.
LIMIT_S = 120 + 15.0 * DEPLOYMENTS


@pytest.fixture
def cluster(tmp_path: Path, postgres: PostgresServer) -> Iterator[Cluster]:
    made = Cluster(
        tmp_path, postgres.make_database(), watched_pulumi(tmp_path / "bin", tmp_path / "evidence")
    )
    yield made
    made.stop()


class Killer:
    """Kills one worker after another, at random, and starts another in its place."""

    def __init__(self, workers: list[Process], start: Callable[[], Process], seed: int) -> None:
        self.kills = 0
        self._workers = workers
        self._start = start
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while self.kills < KILLS and not self._stop.wait(KILL_EVERY_S):
            # One that has only just begun to start has done nothing that could be lost.
            ready = [place for place, worker in enumerate(self._workers) if worker.ready]
            if not ready:
                continue
            place = self._dice.choice(ready)
            self._workers[place].kill()
            self.kills += 1
            self._workers[place] = self._start()


def create_all(api: Api, repository: Path) -> dict[str, list[str]]:
    """Create all deployments, stack after stack in turn; return the ids of each in order."""
    made: dict[str, list[str]] = {f"s{n}": [] for n in range(STACKS)}
    for number in range(DEPLOYMENTS):
        name = f"s{number % STACKS}"
        variables = {"PULUMI_STACK_OF_TEST": name}
        answer = api.create(
            f"acme/web/{name}", repository, options=NO_INSTALL, environmentVariables=variables
        )
        made[name].append(answer["id"])
    return made


def all_ended(api: Api, limit_s: float) -> dict[str, dict[str, Any]]:
    """Wait until nothing is queued or running, and return every deployment by its id."""
    end = time.monotonic() + limit_s
    pause = threading.Event()
    while True:
        found: dict[str, dict[str, Any]] = {}
        for page in range(1, 2 + DEPLOYMENTS // 100):
            answer = api.speaking("today").get(
                "/api/orgs/acme/deployments", page=page, pageSize=100
            )
            found |= {d["id"]: d for d in answer["deployments"]}
        left = {
            i: d["status"] for i, d in found.items() if d["status"] in {"not-started", "running"}
        }
        if len(found) >= DEPLOYMENTS and not left:
            return found
        assert time.monotonic() < end, f"{len(left)} have not ended: {left}"
        pause.wait(0.5)


def failures(api: Api, made: dict[str, list[str]], found: dict[str, dict[str, Any]]) -> str:
    """Return the logs of those that failed by themselves, which none should."""
    return "\n".join(
        f"{name} {i}:\n{''.join(api.log(f'acme/web/{name}', i))}"
        for name, ids in made.items()
        for i in ids
        if found[i]["status"] == "failed" and "ending" not in found[i]
    )


def check(made: dict[str, list[str]], found: dict[str, dict[str, Any]], evidence: Path) -> str:
    """Hold the ends of all deployments to what their programs did; return the counts."""
    assert {i for ids in made.values() for i in ids} == set(found)
    begun = {p.stem for p in evidence.glob("*.begun")}
    twice = sorted(p.stem for p in evidence.glob("*.twice"))
    kinds: dict[str, int] = {}
    for deployment in found.values():
        kind = deployment.get("ending", {}).get("kind", deployment["status"])
        kinds[kind] = kinds.get(kind, 0) + 1
    counts = f"{len(found)} deployments: {kinds}; {len(begun)} operations begun, {len(twice)} twice"
    assert twice == [], counts
    assert list(evidence.glob("*.beside")) == [], counts
    assert set(kinds) <= {"succeeded", "interrupted"}, counts
    for deployment_id, deployment in found.items():
        if deployment["status"] == "succeeded":
            assert deployment_id in begun
    assert kinds.get("succeeded"), counts
    order = [line.split() for line in (evidence / "order").read_text().splitlines()]
    for name in made:
        versions = [int(version) for stack, version in order if stack == name]
        assert versions == sorted(versions), f"{name}: {versions}"
    return counts


def test_workers_are_killed_and_every_deployment_ends_and_runs_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    """No operation runs twice, the order of each stack is kept, and what ends is told clearly."""
    repository = make_repository(tmp_path / "repository")
    api = cluster.api()
    workers = [cluster.worker() for _ in range(WORKERS)]
    began = time.monotonic()
    with Killer(workers, cluster.worker, seed=4) as killer:
        made = create_all(api, repository)
        found = all_ended(api, LIMIT_S)
    told = failures(api, made, found)
    assert not told, told[-3000:]
    counts = check(made, found, tmp_path / "evidence")
    print(f"{counts}; {killer.kills} kills in {time.monotonic() - began:.0f} s")  # noqa: T201


def _have_begun(evidence: Path, count: int) -> bool:
    return len(list(evidence.glob("*.begun"))) >= count


def test_the_one_engine_is_killed_and_every_deployment_ends_and_runs_once(tmp_path: Path) -> None:
    """The same on SQLite, where the one process is killed and started again."""
    path = watched_pulumi(tmp_path / "bin", tmp_path / "evidence")
    repository = make_repository(tmp_path / "repository")
    alone = Alone(tmp_path, path)
    began = time.monotonic()
    try:
        api = alone.start()
        made = create_all(api, repository)
        evidence = tmp_path / "evidence"
        for kill in range(1, 1 + min(KILLS, DEPLOYMENTS // 6)):
            threading.Event().wait(KILL_EVERY_S)
            # Each one has begun operations before it is killed, however slow the machine is.
            begun = partial(_have_begun, evidence, 3 * kill)
            eventually(begun, "operations begin")
            alone.process.kill()
            api = alone.start()
        found = all_ended(api, LIMIT_S)
        told = failures(api, made, found)
        assert not told, told[-3000:]
    finally:
        alone.process.stop()
    counts = check(made, found, evidence)
    print(f"{counts}; in {time.monotonic() - began:.0f} s")  # noqa: T201
