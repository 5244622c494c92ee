import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from reconciler.engine.config import Containers
from reconciler.engine.runners.base import Runner
from reconciler.engine.runners.bubblewrap import BubblewrapRunner
from reconciler.engine.runners.container import ContainerRunner
from reconciler.engine.runners.process import ProcessRunner
from reconciler.engine.runners.supervisor import processes, supervises
from tests.runners.image import container_engine, image
from tests.runners.processes import LIMIT_S, World, left, nothing
from tests.waiting import eventually

pytestmark = pytest.mark.real


@cache
def container() -> Runner:
    """Give the runner of podman or docker, with an image that has what the tests need."""
    return ContainerRunner(container_engine(), Containers(default_image=image()))


# A runner joins by an entry here; what it cannot do by its nature stands beside it.
RUNNERS: dict[str, Callable[[], Runner]] = {
    "process": ProcessRunner,
    "bubblewrap": BubblewrapRunner,
    "container": container,
}

# In these a program is on the host's own network.
ON_THE_HOSTS_NETWORK = frozenset({"process", "bubblewrap"})


@pytest.fixture(params=RUNNERS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each runner in its turn."""
    world = World(RUNNERS[request.param](), tmp_path)
    yield world
    world.close()


@pytest.fixture
def token(tmp_path: Path) -> str:
    """A word that marks the command lines of one test's processes."""
    return f"token-{os.getpid()}-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"


# Makes, from one program, everything that has been seen to escape: a session of its own, a
# group of its own, a daemon, one without any environment, all of which ignore what can be
# ignored. Each makes a file when it is there. The first then does as it is told.
TREE = """
import os, signal, subprocess, sys
token, then = sys.argv[1:]
child = '''
import signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
open(sys.argv[2], "w").close()
time.sleep(1000)
'''
def start(name, **how):
    subprocess.Popen([sys.executable, "-c", child, token, name], **how)
start("ready-1")
start("ready-2", start_new_session=True)
start("ready-3", process_group=0)
start("ready-4", start_new_session=True, env={})
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (0, 1, 2):
            os.close(number)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 1), os.dup2(null, 2)
        start("ready-5", env={}, close_fds=True)
    os._exit(0)
os.wait()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
while not all(os.path.exists(f"ready-{n}") for n in range(1, 6)):
    signal.sigtimedwait([], 0.01)
if then == "end":
    sys.exit(3)
signal.pause()
"""


def ready(world: World) -> None:
    """Wait until the whole tree is there."""
    eventually(lambda: len(list(world.workspace.glob("ready-*"))) == 5, "the tree has grown")


def test_the_exit_code_is_the_programs_own(world: World) -> None:
    """What the program ends with is what wait returns."""
    for code in (0, 1, 7, 125, 127, 255):
        assert world.sh(f"exit {code}") == code


def test_a_signal_is_128_and_its_number(world: World) -> None:
    """A program that a signal ended has the code a shell would give it."""
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        assert world.sh(f"kill -{number.value} $$") == 128 + number


def test_wait_returns_none_at_its_limit(world: World) -> None:
    """A command that goes on is waited for no longer than asked, and can be waited for again."""
    process = world.start("sleep", "1000")
    assert process.wait(0.0) is None
    assert process.wait(0.05) is None
    process.kill()
    assert process.wait(LIMIT_S) == 137
    assert process.wait() == 137


def test_output_comes_in_the_order_it_was_written(world: World) -> None:
    """Standard output and standard error are one stream."""
    assert world.sh("for i in $(seq 500); do echo o$i; echo e$i >&2; done") == 0
    expected = "".join(f"o{number}\ne{number}\n" for number in range(1, 501))
    assert world.output.decode() == expected


def test_large_output_is_complete(world: World) -> None:
    """Not a byte of 20 MB is lost when the program ends right behind the last."""
    assert world.run("head", "-c", "20000000", "/dev/zero") == 0
    assert len(world.output) == 20_000_000


def test_output_without_a_line_end_is_given(world: World) -> None:
    """A last line that nobody has ended comes as well."""
    assert world.run("printf", "no end") == 0
    assert world.output == b"no end"


def test_output_comes_while_the_program_runs(world: World) -> None:
    """A log can be followed live."""
    process = world.start("sh", "-c", "echo first; exec sleep 1000")
    eventually(lambda: world.output == b"first\n", "the first line")
    process.kill()
    process.wait(LIMIT_S)


def test_all_output_comes_from_one_thread(world: World) -> None:
    """Whoever takes the output needs no lock."""
    threads = set()
    process = world.start(
        "sh", "-c", "echo a; echo b >&2", on_output=lambda _: threads.add(threading.get_ident())
    )
    process.wait(LIMIT_S)
    assert len(threads) == 1


def test_a_program_is_not_stopped_by_output_that_nobody_can_take(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the log's disk is full the program still runs to its end; that is said once."""

    def full(_: bytes) -> None:
        raise OSError("no space left")

    process = world.start("sh", "-c", "head -c 1000000 /dev/zero; exit 4", on_output=full)
    assert process.wait(LIMIT_S) == 4
    assert [record.message for record in caplog.records] == ["a command's further output is lost"]


def test_the_program_has_no_input_and_no_terminal(world: World) -> None:
    """A program that asks a question gets the end of the file at once."""
    assert world.sh("cat; test ! -t 0 && ! (: </dev/tty) 2>/dev/null") == 0


def test_the_program_leads_a_session(world: World) -> None:
    """Nothing that is sent to the engine's terminal or group reaches the program."""
    assert world.run(sys.executable, "-c", "import os; print(os.getsid(0))") == 0
    assert int(world.output) != os.getsid(0)


STUBBORN = """
import signal, sys
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print("ready", flush=True)
while len(seen) < int(sys.argv[1]):
    signal.pause()
print("interrupted", flush=True)
sys.exit(5)
"""


def test_an_interrupt_reaches_the_program_itself(world: World) -> None:
    """A program that handles SIGINT ends in its own way, with its own code."""
    process = world.start(sys.executable, "-c", STUBBORN, "1")
    eventually(lambda: world.output == b"ready\n", "the program is ready")
    process.interrupt()
    assert process.wait(LIMIT_S) == 5
    assert world.output == b"ready\ninterrupted\n"


def test_a_second_interrupt_is_a_second_one(world: World) -> None:
    """Pulumi ends at once on the second; it must get both."""
    process = world.start(sys.executable, "-c", STUBBORN, "2")
    eventually(lambda: world.output == b"ready\n", "the program is ready")
    process.interrupt()
    assert process.wait(0.3) is None
    process.interrupt()
    assert process.wait(LIMIT_S) == 5


def test_an_interrupt_right_after_the_start_is_not_lost(world: World) -> None:
    """A sandbox takes a while to get to its program; the interrupt waits for it."""
    for _ in range(3):
        process = world.start("sleep", "1000")
        process.interrupt()
        assert process.wait(LIMIT_S) == 128 + signal.SIGINT


def test_an_interrupt_reaches_what_a_shell_waits_for(world: World) -> None:
    """A shell alone would go on waiting."""
    process = world.start("bash", "-c", "echo ready; sleep 1000; echo never")
    eventually(lambda: world.output == b"ready\n", "the shell is ready")
    process.interrupt()
    assert process.wait(LIMIT_S) == 128 + signal.SIGINT
    assert world.output == b"ready\n"


def test_a_kill_ends_the_whole_tree(world: World, token: str) -> None:
    """New sessions and groups, daemons and ignored signals do not help."""
    process = world.start(sys.executable, "-c", TREE, token, "stay")
    ready(world)
    assert len(left(token)) >= 6
    process.kill()
    process.kill()
    assert process.wait(LIMIT_S) == 137
    assert left(token) == []
    process.kill()
    process.interrupt()


def test_nothing_is_left_after_a_normal_end(world: World, token: str) -> None:
    """What a command leaves running is ended, and its own exit code stands."""
    assert world.run(sys.executable, "-c", TREE, token, "end") == 3
    assert left(token) == []


# A few processes at a time, each of which makes the next one and ends: never the same ones as
# a look at /proc ago.
FORKS = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        while True:
            time.sleep(0.002)
            if os.fork():
                os._exit(0)
time.sleep(1000)
"""


def test_a_kill_ends_a_program_that_forks_all_the_time(world: World, token: str) -> None:
    """A tree that changes faster than one can look is stopped first."""
    process = world.start(sys.executable, "-c", FORKS, token)
    eventually(lambda: len(left(token)) > 3, "some processes")
    process.kill()
    assert process.wait(LIMIT_S) == 137
    assert left(token) == []


def test_a_tree_ends_with_the_engine(world: World, token: str, tmp_path: Path) -> None:
    """An engine that is killed leaves nothing behind: not even for as long as a restart takes."""
    engine = tmp_path / "engine.py"
    engine.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from tests.runners.processes import World\n"
        "from tests.runners.test_contract import RUNNERS\n"
        "world = World(RUNNERS[sys.argv[1]](), Path(sys.argv[2]))\n"
        "world.deployment_id = sys.argv[4]\n"
        "world.environment['PULUMI_CI_BUILD_ID'] = sys.argv[4]\n"
        "world.start(sys.executable, '-c', sys.argv[3], sys.argv[4], 'stay').wait()\n"
    )
    inside = tmp_path / "inside"
    inside.mkdir()
    parent = subprocess.Popen(
        [sys.executable, engine, world.runner.name, inside, TREE, token],
        env={"PYTHONPATH": os.getcwd(), "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},  # noqa: PTH109
    )
    eventually(lambda: len(list((inside / "workspace").glob("ready-*"))) == 5, "the tree")
    parent.kill()
    parent.wait(LIMIT_S)
    world.runner.end_strays(token)
    eventually(lambda: left(token) == [], "the tree has gone")


def children() -> set[int]:
    """Return the process ids of our own children: servers of other tests are among them."""
    return {p.pid for p in processes() if p.parent == os.getpid()}


def test_a_tree_ends_with_what_watches_it(world: World, token: str) -> None:
    """Somebody (the kernel, out of memory) kills what stands between: the command is ended too."""
    world.environment["PULUMI_CI_BUILD_ID"] = world.deployment_id = token
    before = children()
    process = world.start("sh", "-c", "sleep 1000 & sleep 1000; : " + token)
    eventually(lambda: left(token) != [], "the command")
    supervisors = {p.pid for p in processes() if supervises(p.pid, token)}
    (between,) = supervisors or children() - before
    os.kill(between, signal.SIGKILL)
    assert process.wait(LIMIT_S) == 137
    assert left(token) == []


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "nothing": {},
    "ordinary": {"PATH": "/usr/bin:/bin", "A": "b", "EMPTY": ""},
    "hostile": {"LINES": "a\nB=c\n", "UNICODE": "ü🦀", "BYTES": "\udcff", "FORM": "a=b; $(x) %s"},
    "of other programs": {"PYTHONPATH": "/x", "LC_ALL": "C", "BASH_ENV": "/x", "LD_BIND_NOW": "1"},
    "with its own PWD": {"PWD": "/somewhere", "OLDPWD": "/else"},
    "that a shell takes for its own": {
        "UID": "x",
        "PPID": "y",
        "IFS": "z",
        "OPTIND": "w",
        "_": "v",
    },
    "that a loader listens to": {"LD_LIBRARY_PATH": "/nonexistent", "LD_BIND_NOW": "1"},
}


def test_the_environment_is_exactly_what_was_given(world: World) -> None:
    """Nothing of the engine's own, of the runner's or of an image's is added."""
    for about, environment in ENVIRONMENTS.items():
        world.environment = environment
        assert world.run("/usr/bin/env", "-0") == 0, about
        variables = world.output.split(b"\0")[:-1]
        given = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
        assert sorted(variables) == sorted(given), about


def test_a_secret_is_in_no_command_line(world: World, token: str) -> None:
    """What anybody on the host can read by `ps` holds no environment variable."""
    world.environment["SECRET"] = token
    process = world.start("sh", "-c", "echo ready; exec sleep 1000")
    eventually(lambda: world.output == b"ready\n", "the command")
    assert left(token) == []
    assert token not in repr(process)
    process.kill()
    process.wait(LIMIT_S)


def test_the_program_starts_in_its_directory(world: World) -> None:
    """The working directory is the command's own, a link in its path included."""
    assert world.run("pwd", "-P") == 0
    assert world.output.decode().strip() == str(world.workspace)


def test_a_program_that_is_not_there_cannot_be_started(world: World) -> None:
    """It is an OSError, at once, and not an exit code that could be the program's own."""
    (world.workspace / "data").write_text("no program")
    for name in ("nope", "./nope", "/nope", "./data", "/", ""):
        with pytest.raises(OSError, match=r"."):
            world.start(name)


def test_a_directory_that_is_not_there_cannot_be_started_in(world: World) -> None:
    """The same for the working directory."""
    world.directory = Path("nope")
    with pytest.raises(OSError, match=r"."):
        world.start("true")


def test_a_nul_in_an_argument_is_refused(world: World) -> None:
    """The kernel would cut the text there."""
    with pytest.raises(ValueError, match="NUL"):
        world.start("true", "a\0b")


def test_a_script_in_the_workspace_is_started_by_its_relative_path(world: World) -> None:
    """A program is found from the command's directory, not from the engine's."""
    script = world.workspace / "script"
    script.write_text('#!/bin/sh\necho "$0 $1"\n')
    script.chmod(0o755)
    assert world.run("./script", "x") == 0
    assert world.output.decode().endswith("script x\n")


def test_what_is_writable_can_be_written(world: World) -> None:
    """The workspace, and directories asked for, also where they were not there."""
    world.writable = (world.root / "there", world.root / "new" / "deep")
    world.writable[0].mkdir()
    (world.root / "new" / "deep").mkdir(parents=True)
    script = " && ".join(f"echo x >{path}/f" for path in (world.workspace, *world.writable))
    assert world.sh(script) == 0
    for path in (world.workspace, *world.writable):
        assert (path / "f").read_text() == "x\n"


def test_many_places_are_used_at_once_and_are_not_confused(world: World) -> None:
    """Each command gets its own code and output, while other threads start other programs."""

    def one(number: int) -> tuple[int, bytes]:
        (world.root / str(number)).mkdir()
        own = World(world.runner, world.root / str(number))
        own.deployment_id = f"{world.deployment_id}-{number}"
        try:
            return own.sh(f"setsid sleep 1000 & echo {number}; exit {number}"), own.output
        finally:
            own.close()

    def other(number: int) -> int:
        return subprocess.run(["sh", "-c", f"exit {number}"], check=False).returncode

    with ThreadPoolExecutor(6) as pool:
        ours = [pool.submit(one, number) for number in range(6)]
        others = [pool.submit(other, number) for number in range(24)]
        assert [future.result() for future in others] == list(range(24))
        assert [future.result() for future in ours] == [
            (number, f"{number}\n".encode()) for number in range(6)
        ]


def test_no_child_or_open_file_is_left_in_the_engine(world: World) -> None:
    """A thousand deployments leave an engine as it was."""
    world.sh("true")
    before = children()
    files = len(list(Path("/proc/self/fd").iterdir()))
    threads = threading.active_count()
    for _ in range(10):
        world.sh("setsid sleep 1000 & exit 1")
    # What waits for the next command may be there by now: two files, a thread while it is made.
    eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) <= files + 2, "closed files")
    eventually(lambda: threading.active_count() <= threads, "ended threads")
    assert children() - before == set()


LOOPBACK = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()):
        server.accept()[0].close()
"""


def test_loopback_is_there(world: World) -> None:
    """Pulumi and its plugins talk over it."""
    assert world.run(sys.executable, "-c", LOOPBACK) == 0


def test_the_network_is_the_hosts_or_its_own(world: World) -> None:
    """A service of the host's loopback is reached where the runner says so, and only there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = world.run("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}")
    assert (code == 0) == (world.runner.name in ON_THE_HOSTS_NETWORK)


def test_output_can_be_thrown_away(world: World) -> None:
    """A caller that wants only the code gives a function that does nothing."""
    assert world.start("echo", "x", on_output=nothing).wait(LIMIT_S) == 0
