"""Programs that mean harm, in each runner that is to keep them from it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from reconciler.engine.config import Containers, Limits
from reconciler.engine.runners.base import Runner
from reconciler.engine.runners.bubblewrap import BubblewrapRunner
from reconciler.engine.runners.cgroups import find_groups
from reconciler.engine.runners.container import ContainerRunner
from reconciler.engine.runners.local_layer import has_local_layer
from reconciler.engine.runners.process import ProcessRunner
from tests.runners.image import container_engine, image
from tests.runners.processes import World, left
from tests.waiting import eventually

pytestmark = pytest.mark.real

MIB = 1024**2

# Small, so that what is bounded costs the machine of the test nothing.
LIMITS = Limits(processes=60, memory_bytes=128 * MIB, disk_bytes=40 * MIB)


@cache
def container() -> Runner:
    return ContainerRunner(container_engine(), Containers(default_image=image()))


ISOLATING: dict[str, Callable[[], Runner]] = {
    "bubblewrap": BubblewrapRunner,
    "container": container,
}
# The process runner hides nothing, and says so; what it bounds is proven here as well.
BOUNDING = {"process": ProcessRunner, **ISOLATING}


def make(runner: Runner, root: Path) -> Iterator[World]:
    world = World(runner, root)
    world.limits = LIMITS
    world.deployment_id = f"hostile-{secrets.token_hex(6)}"
    world.environment["PULUMI_CI_BUILD_ID"] = world.deployment_id
    yield world
    world.close()


@pytest.fixture(params=ISOLATING)
def world(request: pytest.FixtureRequest, data: Path) -> Iterator[World]:
    """A deployment in a runner that isolates; the engine's data is hidden."""
    (data / "work").mkdir()
    for world in make(ISOLATING[request.param](), data / "work"):
        world.hidden = (data,)
        yield world


@pytest.fixture(params=BOUNDING)
def bounded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A deployment in a runner that bounds."""
    yield from make(BOUNDING[request.param](), tmp_path)


@pytest.fixture
def data() -> Iterator[Path]:
    """An engine's data directory, with a canary in all that is secret."""
    data = Path("/opt") / f"engine-{secrets.token_hex(6)}"
    for name in ("engine.db", "engine.key", "embedded.token", "work/other/source", "logs/0"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(CANARY)
    shutil.move(data / "work", data / "others")  # `work` is the test's own
    yield data
    shutil.rmtree(data)


CANARY = "canary-" + secrets.token_hex(16)

SEARCH = """
import os, sys
canary, found = sys.argv[1].encode()[::-1], []
for top in sys.argv[2:]:
    for folder, _, names in os.walk(top, onerror=lambda _: None):
        for name in names:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    if canary in file.read(1 << 16):
                        found.append(os.path.join(folder, name))
            except OSError:
                pass
print(found)
"""


def test_the_engines_data_is_not_found(world: World, data: Path) -> None:
    """Database, key, tokens, logs and other workspaces: not by name, not through /proc."""
    places = [str(data), "/opt", "/proc/1/root/opt", "/proc/self/root/opt", "/proc/1/cwd/opt"]
    assert world.run(sys.executable, "-c", SEARCH, CANARY[::-1], *places) == 0
    assert world.output == b"[]\n"


def test_secrets_of_the_host_are_not_found(world: World) -> None:
    """Homes, password hashes and private keys of the host."""
    key = Path.home() / f".canary-{secrets.token_hex(6)}"
    key.write_text(CANARY)
    try:
        world.sh(f"cat {key} /proc/1/root{key} /proc/self/root{key}; ls -A ~root /home /root/.ssh")
        assert CANARY.encode() not in world.output
        assert key.name not in world.output.decode().split()
    finally:
        key.unlink()
    hashes = [line for line in Path("/etc/shadow").read_text().splitlines() if line]
    world.sh("cat /etc/shadow /etc/gshadow /etc/ssh/ssh_host_*_key 2>/dev/null")
    assert not any(line.encode() in world.output for line in hashes)
    assert b"PRIVATE KEY" not in world.output


def test_the_engine_is_neither_seen_nor_killed(world: World) -> None:
    """Its environment cannot be read, its process not be found, and no signal reaches it."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print('on', flush=True); time.sleep(600)"],
        env={"TOKEN": CANARY},
        stdout=subprocess.PIPE,
    ) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"on\n"
        script = f"cat /proc/*/environ 2>/dev/null | grep -c {CANARY[:20]}; kill -9 {engine.pid}"
        world.sh(f"({script}; kill -9 -- -{os.getpgrp()}) 2>/dev/null")
        assert world.output == b"0\n"
        assert engine.poll() is None
        engine.kill()


LIBRARY = """
#include <stdlib.h>
#include <unistd.h>
#include <fcntl.h>
__attribute__((constructor)) static void began(void) {
  int file = open("MARK", O_CREAT | O_WRONLY, 0600);
  if (file >= 0) close(file);
}
"""


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "BASH_ENV", "ENV", "PYTHONPATH", "PATH"]
)
def test_a_variable_of_the_program_reaches_nothing_outside(
    world: World, name: str, tmp_path: Path
) -> None:
    """What a loader or a shell obeys is obeyed inside alone, not by what makes the sandbox."""
    mark = tmp_path / "outside"
    evil = world.workspace / "evil"
    evil.mkdir()
    for program in ("sh", "env", "mount", "bwrap", "unshare", "podman", "runc", "conmon"):
        (evil / program).write_text(f'#!/bin/sh\necho x >{mark}\nexec /bin/{program} "$@"\n')
        (evil / program).chmod(0o755)
    (evil / "rc").write_text(f"echo x >{mark}\n")
    (evil / "sitecustomize.py").write_text(f"open({str(mark)!r}, 'w')\n")
    library = evil / "evil.so"
    if shutil.which("cc"):
        source = evil / "evil.c"
        source.write_text(LIBRARY.replace("MARK", str(mark)))
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        shutil.copy(library, evil / "libc.so.6")
    value = {
        "LD_PRELOAD": str(library),
        "LD_AUDIT": str(library),
        "BASH_ENV": str(evil / "rc"),
        "ENV": str(evil / "rc"),
        "PATH": f"{evil}:/usr/bin:/bin",
    }.get(name, str(evil))
    world.environment[name] = value
    world.run("/bin/sh", "-c", "true")
    assert not mark.exists()


def test_links_in_the_workspace_open_nothing(world: World, data: Path) -> None:
    """A command that puts a link in the place of a directory has the next one see no more."""
    tries = [
        f"mv {world.workspace}/tmp {world.workspace}/t && ln -s / {world.workspace}/tmp",
        f"rm -rf {world.workspace}/tmp && ln -s {data} {world.workspace}/tmp",
        f"rm -rf $TMPDIR; ln -s {data} $TMPDIR",
        f"mkdir -p home && rm -rf home && ln -s {data} home",
    ]
    world.environment["TMPDIR"] = f"{world.workspace}/tmp"
    for attempt in tries:
        world.sh(f"({attempt}) 2>/dev/null")
        assert (
            world.sh(f"cat /tmp/engine.key tmp/engine.key home/engine.key {data}/engine.key") != 0
        )
        assert CANARY.encode() not in world.output
        world.sh(f"echo evil >/tmp/opt/{data.name}/engine.key; echo evil >/tmp/engine.key")
    assert (data / "engine.key").read_text() == CANARY


def test_the_hosts_files_are_not_changed(world: World) -> None:
    """What is written outside of the workspace is not written to the host."""
    name = f"hostile-{secrets.token_hex(6)}"
    for folder in ("/usr/local/bin", "/etc", "/usr/bin", "/var/tmp", "/dev/shm", "/tmp", "/opt"):
        world.sh(f"echo x >{folder}/{name}")
        assert not (Path(folder) / name).exists(), folder


def test_usr_local_is_the_deployments_own(world: World) -> None:
    """What an installer puts there is found by the next command, and never by the host."""
    name = f"tool-{secrets.token_hex(6)}"
    wrote = world.sh(f"mkdir -p /usr/local/lib/x && echo here >/usr/local/bin/{name}") == 0
    assert wrote or not has_local_layer()
    if wrote:
        assert world.sh(f"cat /usr/local/bin/{name}") == 0
        assert world.output == b"here\n"
    assert not (Path("/usr/local/bin") / name).exists()


def test_sockets_of_the_host_are_out_of_reach(world: World) -> None:
    """A docker.sock would be the whole host."""
    path = Path("/run") / f"hostile-{secrets.token_hex(4)}.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        assert world.run(sys.executable, "-c", program) != 0
        path.unlink()


FORKS = """
import os, time
made = 0
for _ in range(5000):
    try:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
        made += 1
    except OSError:
        break
print("made", made, flush=True)
time.sleep(1000)
"""


def test_forks_are_bounded_and_end(bounded: World) -> None:
    """5,000 forks come to no more than the limit, and a kill ends them all."""
    assert find_groups() is not None, "this test needs a host where groups can be made"
    process = bounded.start(sys.executable, "-c", FORKS, bounded.deployment_id)
    eventually(lambda: b"made" in bounded.output, "the forks are made")
    assert 0 < int(bounded.output.split()[1]) <= LIMITS.processes
    assert len(left(bounded.deployment_id)) <= LIMITS.processes + 5
    process.kill()
    assert process.wait(60.0) == 128 + signal.SIGKILL
    assert left(bounded.deployment_id) == []


def test_memory_is_bounded(bounded: World) -> None:
    """A program that takes more than the limit is killed, and it alone."""
    program = "x = []\nwhile len(x) < 600: x.append(bytearray(1 << 20))\nprint('had it')"
    assert bounded.run(sys.executable, "-c", program) != 0
    assert b"had it" not in bounded.output
    assert bounded.sh("echo still here") == 0


def test_the_disk_is_bounded(bounded: World) -> None:
    """One file, and many: the deployment is ended near its limit, and the log says why."""
    assert bounded.sh("dd if=/dev/zero of=one bs=1M count=400 2>/dev/null") != 0
    assert (bounded.workspace / "one").stat().st_size <= LIMITS.disk_bytes
    (bounded.workspace / "one").unlink()
    many = "head -c 1000000 /dev/zero >f$i; sleep 0.02"
    many = f"i=0; while [ $i -lt 4000 ]; do i=$((i+1)); {many}; done"
    assert bounded.sh(many) == 128 + signal.SIGKILL
    assert b"takes more than 40 MiB of disk" in bounded.output
