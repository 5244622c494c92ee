"""What an engine that was killed, or stopped, leaves behind, and how the next one settles it."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.engine import tokens
from reconciler.engine.config import Layout
from tests.engine.harness import (
    NO_INSTALL,
    Api,
    EngineProcess,
    Gate,
    make_slow_repository,
    statuses,
)
from tests.waiting import eventually

pytestmark = pytest.mark.real

STACK = "acme/web/crash"
RUNNERS = pytest.mark.parametrize("runner", ["bubblewrap", "process"])


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gate").mkdir()
    return Gate(tmp_path / "gate")


class Restartable:
    """A data directory with one engine process after another."""

    def __init__(self, directory: Path, gate: Gate, runner: str) -> None:
        self.layout = Layout(directory)
        self._gate = gate
        self._runner = runner
        self._token = tokens.create(
            directory, organization="acme", user="u", email="", role="admin", expires=None
        )

    def start(self) -> tuple[EngineProcess, Api]:
        process = EngineProcess(self.layout.data, self._gate.directory, self._runner)
        return process, Api(process.url, self._token)


def of_deployment(deployment_id: str) -> list[int]:
    """Return the processes of a deployment, by the id in their environment."""
    marker = f"PULUMI_CI_BUILD_ID={deployment_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if marker in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


@RUNNERS
def test_killed_in_the_operation(tmp_path: Path, gate: Gate, runner: str) -> None:
    """The next engine ends what is left, frees the lock, says interrupted and goes on."""
    engines = Restartable(tmp_path / "data", gate, runner)
    repository = make_slow_repository(tmp_path / "r", gate, "op")
    process, api = engines.start()
    made = api.create(STACK, repository, options=NO_INSTALL)["id"]
    queued = api.create(STACK, repository, operation="refresh", options=NO_INSTALL)["id"]
    gate.begun("op")
    process.kill()
    process, api = engines.start()
    try:
        ended = api.ended(STACK, made)
        assert ended["status"] == "failed"
        assert ended["ending"]["kind"] == "interrupted"
        assert "pending operations may exist" in ended["ending"]["message"]
        log = api.log(STACK, made)
        assert log[-1] == ended["ending"]["message"] + "\n"
        assert log[-2] == "the stack's lock was freed\n"
        assert of_deployment(made) == []
        gate.open("op")
        assert api.ended(STACK, queued)["status"] == "succeeded", api.log(STACK, queued)
        assert [d["version"] for d in api.get(api.path(STACK))] == [1, 2]
        eventually(lambda: not list(engines.layout.work.iterdir()), "the workspaces are gone")
    finally:
        assert process.stop() == 0


@RUNNERS
def test_killed_before_the_operation(
    tmp_path: Path, gate: Gate, runner: str, repository: Path
) -> None:
    """Lost in a pre-run command: it goes back to the queue, and begins anew."""
    engines = Restartable(tmp_path / "data", gate, runner)
    process, api = engines.start()
    count = gate.directory / "count"
    command = f"echo x >>{count}; setsid sleep 1000 & {gate.waits('pre')}"
    made = api.create(STACK, repository, preRunCommands=[command])["id"]
    gate.begun("pre")
    process.kill()
    process, api = engines.start()
    try:
        eventually(lambda: count.read_text() == "x\nx\n", "it has begun anew")
        gate.open("pre")
        ended = api.ended(STACK, made)
        assert ended["status"] == "succeeded"
        assert statuses(ended) == ["succeeded"] * 5
        log = "".join(api.log(STACK, made))
        assert "the engine was lost before Pulumi ran: it goes back to the queue\n" in log
        assert of_deployment(made) == []
    finally:
        assert process.stop() == 0


def test_a_cancel_survives_a_crash(tmp_path: Path, gate: Gate) -> None:
    """One that was to be cancelled when the engine was killed reads canceled afterwards."""
    engines = Restartable(tmp_path / "data", gate, "")
    repository = make_slow_repository(tmp_path / "r", gate, "op")
    process, api = engines.start()
    made = api.create(STACK, repository, options=NO_INSTALL)["id"]
    gate.begun("op")
    assert api.cancel(STACK, made) == 200
    process.kill()
    process, api = engines.start()
    try:
        ended = api.ended(STACK, made)
        assert ended["ending"]["kind"] == "canceled"
        assert "pending operations may exist" in ended["ending"]["message"]
    finally:
        assert process.stop() == 0


def test_stopped_in_the_operation(tmp_path: Path, gate: Gate, repository: Path) -> None:
    """SIGTERM interrupts what runs and waits for its end; what is queued stays for the next."""
    engines = Restartable(tmp_path / "data", gate, "")
    slow = make_slow_repository(tmp_path / "r", gate, "op")
    process, api = engines.start()
    made = api.create(STACK, slow, options=NO_INSTALL)["id"]
    queued = api.create(STACK, slow, operation="refresh", options=NO_INSTALL)["id"]
    other = api.create("acme/web/pre", repository, preRunCommands=[gate.waits("pre")])["id"]
    gate.begun("op")
    gate.begun("pre")
    process.process.terminate()
    eventually(
        lambda: api.deployment("acme/web/pre", other)["status"] == "not-started",
        "it is in the queue again",
    )
    assert api.deployment(STACK, made)["status"] == "running"
    gate.open("op")
    gate.open("pre")
    told = rf"deployment {made}: version 1 of {STACK} has failed in step 'Pulumi operation'\n"
    assert re.fullmatch(told, process.end())
    assert process.process.returncode == 0
    process, api = engines.start()
    try:
        ended = api.ended(STACK, made)
        assert ended["ending"] == {
            "kind": "interrupted",
            "message": "the engine was stopped while Pulumi ran",
        }
        assert api.log(STACK, made)[-1] == "the engine was stopped while Pulumi ran\n"
        assert api.ended(STACK, queued)["status"] == "succeeded"
        again = api.ended("acme/web/pre", other)
        assert again["status"] == "succeeded", again
        words = "the engine was stopped before Pulumi ran: it goes back to the queue\n"
        assert words in api.log("acme/web/pre", other)
    finally:
        assert process.stop() == 0


def test_one_engine_a_directory(tmp_path: Path, gate: Gate) -> None:
    """A second engine ends with 75 and names the first; the first goes on."""
    engines = Restartable(tmp_path / "data", gate, "")
    process, api = engines.start()
    try:
        with pytest.raises(AssertionError, match=f"process {process.process.pid}"):
            engines.start()
        assert api.get("/api/user")
    finally:
        os.kill(process.process.pid, signal.SIGINT)
        process.end()
        assert process.process.returncode == 0


def test_one_that_cannot_be_settled_stops_no_engine(
    tmp_path: Path, gate: Gate, repository: Path
) -> None:
    """Where one of those that ran cannot be settled, the engine starts and settles the others."""
    engines = Restartable(tmp_path / "data", gate, "process")
    process, api = engines.start()
    names = ("broken", "whole")
    broken, whole = (
        api.create(f"acme/web/{name}", repository, preRunCommands=[f"{gate.waits(name)}; exit 1"])
        for name in names
    )
    for name in names:
        gate.begun(name)
    process.kill()
    with closing(sqlite3.connect(engines.layout.database)) as database, database:
        database.execute("UPDATE deployments SET steps = 'x' WHERE id = ?", (broken["id"],))
    process, api = engines.start()
    try:
        gate.open("whole")
        ended = api.ended("acme/web/whole", whole["id"])
        assert ended["status"] == "failed"
        assert "it goes back to the queue" in "".join(api.log("acme/web/whole", whole["id"]))
    finally:
        assert process.stop() == 0
