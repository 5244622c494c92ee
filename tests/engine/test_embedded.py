"""The engine that a reconciler starts for itself: found by its files, gone when not needed."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.cli.embedded import EmbeddedEngine, EngineOptions, running_in
from reconciler.clock import SystemClock
from reconciler.engine.config import IDLE_EXIT, Layout
from tests.engine.harness import Api, EngineProcess, Gate
from tests.waiting import eventually

pytestmark = pytest.mark.real


@contextmanager
def using(layout: Layout) -> Iterator[None]:
    """Hold the users' lock, as a reconciler does."""
    with layout.users_lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def test_an_embedded_engine_is_found_and_ends_by_itself(tmp_path: Path, repository: Path) -> None:
    """It says where it answers and with which token, lives while it is used or works, and ends."""
    layout = Layout(tmp_path / "data")
    (tmp_path / "gate").mkdir()
    gate = Gate(tmp_path / "gate")
    process = EngineProcess(layout.data, gate.directory, embedded=True)
    address = json.loads(layout.address.read_text())
    assert address == {"url": process.url, "pid": process.process.pid}
    for path in (layout.address, layout.embedded_token):
        assert path.stat().st_mode & 0o777 == 0o600
    token = layout.embedded_token.read_text()
    api = Api(process.url, token)
    with using(layout):
        made = [
            api.create(f"{organization}/web/x", repository, preRunCommands=[gate.waits("x")])["id"]
            for organization in ("one", "two")
        ]
        gate.begun("x")
    # Nobody holds the lock any more, and it works on for longer than it may idle.
    with pytest.raises(Exception, match="timed out"):
        process.process.wait(1.5)
    gate.open("x")
    errors = process.end()
    assert (process.process.returncode, errors) == (0, "")
    assert not layout.address.exists()
    # The next one has the same token, and tells what became of the last one's deployments.
    process = EngineProcess(layout.data, gate.directory, embedded=True)
    assert layout.embedded_token.read_text() == token
    api = Api(process.url, token)
    assert api.deployment("one/web/x", made[0])["status"] == "succeeded"
    assert api.deployment("two/web/x", made[1])["status"] == "succeeded"
    assert [o["githubLogin"] for o in api.get("/api/user")["organizations"]] == ["one", "two"]
    process.end()


def test_an_embedded_engine_stays_while_it_is_used(tmp_path: Path) -> None:
    """While any process holds the users' lock the engine does not end, and soon after it does."""
    layout = Layout(tmp_path / "data")
    process = EngineProcess(layout.data, tmp_path, embedded=True)
    with using(layout), pytest.raises(Exception, match="timed out"):
        process.process.wait(1.5)
    eventually(lambda: process.process.poll() is not None, "the engine ends")
    process.end()
    assert not layout.address.exists()
    assert os.access(layout.users_lock, os.R_OK)


def test_one_with_other_options_takes_its_place_at_once(tmp_path: Path) -> None:
    """Who looks with `plan` and deploys with `run` then is not kept waiting for the idle time."""
    folder = tmp_path / "engine"

    def engine(*allow_write: str) -> EmbeddedEngine:
        options = EngineOptions(
            cancel_grace_s=60, runner=("--runner", "process"), allow_write=allow_write, hide=()
        )
        return EmbeddedEngine(folder, options, SystemClock(), os.environ)

    def process_id() -> int:
        found = running_in(folder)
        assert found is not None
        return found.pid

    first, second = engine(), engine(str(tmp_path))
    first.api()
    before = process_id()
    first.close()
    begun = time.monotonic()
    second.api()
    took_s = time.monotonic() - begun
    after = process_id()
    second.close()
    os.kill(after, signal.SIGTERM)
    assert before != after
    assert took_s < IDLE_EXIT.total_seconds()
    eventually(lambda: running_in(folder) is None, "the end of the second one")
