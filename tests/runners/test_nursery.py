"""What supervisors come from: one process, which may be lost, and of which nothing is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.engine.runners.nursery import Nursery, nursery
from reconciler.engine.runners.process import ProcessRunner
from reconciler.engine.runners.supervisor import look
from tests.runners.processes import LIMIT_S, World, supervisors
from tests.waiting import eventually

pytestmark = pytest.mark.real


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Plain processes, the nursery among them."""
    world = World(ProcessRunner(), tmp_path)
    assert world.sh("true") == 0
    yield world
    world.close()


def alive(pid: int) -> bool:
    process = look(pid)
    return process is not None and process.alive


def test_a_lost_nursery_is_made_anew(world: World) -> None:
    """Who kills it takes nothing from the commands that run, nor from those that come."""
    (world.workspace / "gate").touch()
    running = world.start("sh", "-c", "touch begun; while [ -e gate ]; do sleep 0.01; done; exit 7")
    eventually((world.workspace / "begun").exists, "the command")
    before = nursery.pid
    os.kill(before, signal.SIGKILL)
    eventually(lambda: not alive(before), "its end")
    assert world.sh("exit 3") == 3
    eventually(lambda: nursery.pid != before, "another one")
    (world.workspace / "gate").unlink()
    assert running.wait(LIMIT_S) == 7


def test_a_signal_for_all_does_not_end_it(world: World) -> None:
    """A service manager may tell every process of a service to end; what runs may need it yet."""
    before = nursery.pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(before, number)
    assert world.sh("exit 3") == 3
    assert nursery.pid == before


def test_it_keeps_nothing_of_a_supervisor(world: World) -> None:
    """No dead child and no open file stays in it, however many it has made."""
    files = Path(f"/proc/{nursery.pid}/fd")
    before = len(list(files.iterdir()))
    there = supervisors()
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda number: world.sh(f"exit {number}"), range(24)))
    assert codes == list(range(24))
    assert len(list(files.iterdir())) == before
    world.close()
    eventually(lambda: supervisors() <= there, "no more are left")


def test_it_ends_with_the_engine() -> None:
    """An engine that is killed leaves no nursery behind, and no supervisor without an order."""
    script = (
        "import os, socket, time\n"
        "from reconciler.engine.runners.nursery import nursery\n"
        "ours, control = socket.socketpair()\n"
        "made = nursery.supervisor('', control.fileno(), os.open(os.devnull, os.O_WRONLY))\n"
        "control.close()\n"
        "print(nursery.pid, made, flush=True)\n"
        "time.sleep(1000)\n"
    )
    engine = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    pids = [int(word) for word in engine.stdout.readline().split()]
    assert all(map(alive, pids))
    engine.kill()
    engine.communicate(timeout=LIMIT_S)
    eventually(lambda: not any(map(alive, pids)), "their end")


def test_a_nursery_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Python to start, a command cannot be started, and nothing is left open."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    files = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        Nursery().supervisor("d", 0, 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == files
