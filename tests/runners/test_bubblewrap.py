import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.runners.bubblewrap import BubblewrapRunner
from tests.runners.processes import World

pytestmark = pytest.mark.real


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The sandbox, and a workspace below /tmp."""
    world = World(BubblewrapRunner(), tmp_path)
    yield world
    world.close()


@pytest.fixture
def data(world: World) -> Iterator[Path]:
    """An engine's data outside /tmp, hidden, with a secret in it."""
    data = Path("/var/tmp") / f"hidden-{os.getpid()}-{world.root.name}"
    data.mkdir()
    (data / "key").write_text("hidden content")
    world.hidden = (data,)
    yield data
    shutil.rmtree(data)


def test_it_works_here() -> None:
    """`works` really makes a sandbox."""
    assert BubblewrapRunner().works()


def test_it_does_not_work_without_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no bwrap, `works` says so."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not BubblewrapRunner().works()


def test_a_bwrap_that_refuses_does_not_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Being installed is not enough: a kernel may not allow it."""
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert not BubblewrapRunner().works()


def test_a_hidden_directory_is_empty(world: World, data: Path) -> None:
    """The engine's data is not seen, and cannot be written."""
    assert world.sh(f"ls -A {data}; cat {data}/key 2>/dev/null; touch {data}/x 2>/dev/null") != 0
    assert world.output == b""
    assert sorted(path.name for path in data.iterdir()) == ["key"]


def test_a_hidden_file_cannot_be_read(world: World, data: Path) -> None:
    """A single file can be hidden too, and a directory that does not exist does no harm."""
    world.hidden = (data / "key", data / "nope")
    world.sh(f"cat {data}/key 2>/dev/null; echo x 2>/dev/null >{data}/key")
    assert world.output == b""
    assert (data / "key").read_text() == "hidden content"


def test_a_hidden_directory_is_hidden_by_a_link_as_well(world: World, data: Path) -> None:
    """Giving the engine's data by a link hides where it leads."""
    link = world.root / "link"
    link.symlink_to(data)
    world.hidden = (link,)
    assert world.sh(f"ls -A {data}") == 0
    assert world.output == b""


def test_the_workspace_is_seen_below_a_hidden_directory(world: World, data: Path) -> None:
    """Workspaces lie in the engine's data; the others in there are not seen."""
    world.workspace = data / "work" / "1"
    world.workspace.mkdir(parents=True)
    (data / "work" / "2").mkdir()
    state = data / "state"
    state.mkdir()
    world.writable = (state,)
    assert world.sh(f"touch here {state}/there; ls {data} {data}/work; pwd -P") == 0
    expected = f"{data}:\nstate\nwork\n\n{data}/work:\n1\n{world.workspace}\n"
    assert world.output.decode() == expected
    assert (world.workspace / "here").exists()
    assert (state / "there").exists()


def test_what_is_hidden_inside_a_writable_directory_is_hidden(world: World, data: Path) -> None:
    """The inner one of two rules counts."""
    inner = data / "inner"
    inner.mkdir()
    (inner / "secret").write_text("x")
    world.writable, world.hidden = (data,), (inner,)
    assert world.sh(f"cat {data}/key; ls -A {inner}") == 0
    assert world.output == b"hidden content"


def test_a_directory_that_is_hidden_and_writable_is_seen(world: World, data: Path) -> None:
    """Where an engine's data is the state's directory as well, the state can be written."""
    world.writable = (data,)
    assert world.sh(f"echo more >>{data}/key") == 0


def test_nothing_else_can_be_written(world: World) -> None:
    """The host's files are there to be read only."""
    for path in ("/usr/x", "/etc/x", "/var/tmp/x", f"{Path.home()}/x", "/x", "/run/x", "/sys/x"):
        assert world.sh(f"touch {path} 2>/dev/null") != 0, path


def test_tmp_is_the_workspaces_own(world: World) -> None:
    """/tmp is writable, lasts from one command to the next, and is not the host's."""
    (world.root / "others").write_text("others")
    assert world.sh(f"echo x >/tmp/mine; ls {world.root}/others 2>/dev/null") != 0
    assert world.sh("cat /tmp/mine") == 0
    assert world.output == b"x\n"
    assert (world.workspace / "tmp" / "mine").exists()


def test_a_writable_directory_below_tmp_is_the_hosts(world: World) -> None:
    """What is asked for by name is there, though /tmp is not the host's; it is made if need be."""
    world.writable = (world.root / "new" / "deep",)
    assert world.sh(f"echo x >{world.root}/new/deep/f") == 0
    assert (world.root / "new" / "deep" / "f").read_text() == "x\n"


def test_other_processes_are_not_seen(world: World) -> None:
    """The engine's environment and memory are out of reach."""
    assert world.sh(f"ls /proc | grep -c '^[0-9]'; test ! -e /proc/{os.getpid()}/environ") == 0
    assert int(world.output) < 10


def test_services_of_the_host_are_not_reached_by_their_sockets(world: World) -> None:
    """A read-only file system does not keep anyone from a docker.sock; an empty /run does."""
    path = Path("/run") / f"test-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        try:
            assert world.sh("find /run -type s") == 0
        finally:
            path.unlink()
    assert world.output == b""


def test_host_names_are_resolved(world: World) -> None:
    """What the resolver needs is there, also where that leads to /run."""
    assert world.sh("cat /etc/resolv.conf >/dev/null && getent hosts localhost") == 0


@pytest.mark.parametrize(
    "attempt",
    [
        "umount {data}",
        "mount --bind / /tmp",
        "mount -o remount,rw /",
        "mknod /tmp/disk b 8 0",
        "unshare --mount umount {data}",
        "unshare --user --map-root-user --mount umount {data}",
        "chroot / true",
        "kill -9 {pid}",
    ],
)
def test_root_in_the_sandbox_cannot_undo_it(world: World, data: Path, attempt: str) -> None:
    """An engine that runs as root gives its programs no power over the host."""
    script = attempt.format(data=data, pid=os.getppid())
    assert world.sh(f"{script} 2>/dev/null") != 0
    assert world.sh(f"cat {data}/key 2>/dev/null") != 0


def test_root_in_the_sandbox_can_unpack_archives(world: World) -> None:
    """Owners and modes can be set in the workspace, as package managers do."""
    if os.geteuid() == 0:
        assert world.sh("touch f && chown 1234:1234 f && chmod 600 f && echo x >>f") == 0


@pytest.mark.parametrize("environment", [True, False])
def test_what_is_on_path_below_tmp_is_there_with_its_links(
    world: World, *, environment: bool
) -> None:
    """Programs see their libraries, also where both are links to somewhere else."""
    real, linked = world.root / "real", world.root / "linked"
    (real / "bin").mkdir(parents=True)
    (real / "lib").mkdir()
    linked.mkdir()
    (real / "lib" / "words").write_text("said")
    tool = real / "bin" / "tool"
    tool.write_text(f"#!/bin/sh\nexec cat {linked}/lib/words\n")
    tool.chmod(0o755)
    for name in ("bin", "lib"):
        (linked / name).symlink_to(real / name)
    if environment:
        (linked / "pyvenv.cfg").touch()
    world.environment["PATH"] = f"{linked}/bin:{world.environment['PATH']}"
    assert world.run("tool") == 0, world.output
    assert world.output == b"said"
