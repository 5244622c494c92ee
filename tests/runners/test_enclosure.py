"""What waits for a deployment's next command: within its bounds, and gone with its last place."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.runners.cgroups import find_groups
from reconciler.engine.runners.process import ProcessRunner
from reconciler.engine.runners.supervisor import look, supervises
from tests.runners.processes import LIMIT_S, World, supervisors
from tests.waiting import eventually

pytestmark = pytest.mark.real


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Plain processes of one deployment."""
    assert find_groups() is not None, "these tests need a host where groups can be made"
    world = World(ProcessRunner(), tmp_path)
    yield world
    world.close()


def within(world: World) -> list[int]:
    """Return the processes in the deployment's control groups."""
    groups = find_groups()
    assert groups is not None
    found = [path / "cgroup.procs" for path in groups.of(world.deployment_id)]
    texts = {file.read_text() for file in found if file.exists()}
    return [int(pid) for text in texts for pid in text.split()]


def waiting(world: World) -> int:
    """Return the process that waits in the groups, once there is one and it is bounded."""
    eventually(lambda: len(within(world)) == 1, "a supervisor that waits, in each group")
    return within(world)[0]


def test_the_next_command_is_the_one_that_waits(world: World) -> None:
    """A command has the supervisor that was made before it, and another one is made meanwhile."""
    world.place()
    ahead = waiting(world)
    (world.workspace / "gate").touch()
    running = world.start("sh", "-c", "while [ -e gate ]; do sleep 0.01; done")
    eventually(lambda: supervises(ahead, world.deployment_id), "the order")
    eventually(lambda: len(set(within(world))) >= 3, "the command, its supervisor and the next")
    (world.workspace / "gate").unlink()
    assert running.wait(LIMIT_S) == 0
    assert waiting(world) != ahead


def test_what_waits_is_of_nobody(world: World) -> None:
    """Who looks for what a deployment runs, and waits for its end, does not find it."""
    world.place()
    assert not supervises(waiting(world), world.deployment_id)


def test_it_is_made_anew_where_all_was_ended(world: World) -> None:
    """Who ends what is left of a deployment removes its bounds: the next command is in new ones."""
    world.place()
    waiting(world)
    world.runner.end_strays(world.deployment_id)
    assert within(world) == []
    assert world.sh("exit 3") == 3
    waiting(world)


def test_one_that_was_lost_is_made_anew(world: World) -> None:
    """Somebody (the kernel, out of memory) kills what waits: the next command has another."""
    world.place()
    os.kill(waiting(world), signal.SIGKILL)
    eventually(lambda: not within(world), "its end")
    assert world.sh("exit 3") == 3


def test_a_place_beside_another_leaves_it_what_waits(world: World) -> None:
    """The source has a place of its own: its end takes nothing from the deployment's."""
    place = world.place()
    ahead = waiting(world)
    world.writable = (world.root / "more",)
    beside = world.place()
    assert beside is not place
    beside.close()
    assert within(world) == [ahead]
    place.close()
    eventually(lambda: look(ahead) is None, "its end")
    assert within(world) == []


def test_nothing_waits_after_the_last_place(world: World) -> None:
    """No process, no group and no open file is left, however quickly it was given up."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    before = supervisors()
    for _ in range(20):
        place = world.place()
        place.close()
    eventually(lambda: supervisors() <= before, "no more of them are left")
    groups = find_groups()
    assert groups is not None
    assert not any(path.exists() for path in groups.of(world.deployment_id))
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + 1  # the nursery's
