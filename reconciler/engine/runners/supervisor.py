"""The small program between the engine and a deployment's command: it loses no process.

It is a process of its own, one a command. As a child subreaper it becomes the parent of
everything that the command leaves behind, whatever session, process group or environment that
has made itself, so "all of it" is simply: all its descendants. It can wait for every child
without taking one from the engine's other threads. And when the engine dies, however it dies,
the control socket closes and the supervisor ends the rest.

On standard input it has the control socket. It reads one packed order (`pack`), answers
`+PID` or `-ERRNO` and a line end, then takes single letters: `i` interrupts the program, `k`
kills everything, as does the end of the socket. When nothing of the program is left, it says
`=CODE` and ends: the program's own exit code, 128 + N for signal N.

Run as a script, this is a nursery (`nurse`): started once an engine by `nursery.py`, it forks a
supervisor whenever it is asked to. To start Python for each command would take as long as many a
command does. With two arguments it only tries `lay`.

Standard library only, and little of it: Python starts it isolated, the pages that it has are
copied for every supervisor, and `typing` alone would be as much as all the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from collections import namedtuple

# As a type checker reads it; without the module that is usually asked.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "ARGUMENTS",
    "INTERRUPT",
    "KILL",
    "LONGEST_ID",
    "Seen",
    "code_of",
    "descendants",
    "lay",
    "look",
    "pack",
    "processes",
    "send",
    "supervises",
]

INTERRUPT = b"i"
KILL = b"k"

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

# The file at which a sandbox finds what is not for its command line.
ARGUMENTS = 9

# The file by which a supervisor is known to be one: empty, and its name says of what.
MARK = 10
_MARK_NAME = "reconciler-supervises-%s"

# So many bytes of a deployment's id are in it; the kernel takes 249 in all.
LONGEST_ID = 200

# The length of an order comes first, in so many bytes.
LENGTH_BYTES = 4

# How long to wait for killed processes, or for a sandbox's program to begin, before looking
# again: short beside everything a command does, long beside one look at /proc (1 ms).
LOOK_AGAIN_S = 0.01

# How often to look for processes that are still being made, before they are killed anyway.
STOP_ROUNDS = 50


class Seen(namedtuple("Seen", ("pid", "started", "parent", "session", "alive"))):  # noqa: PYI024
    """A process, as /proc tells of it.

    `started` counts the kernel's clock ticks since the machine's start.
    """

    __slots__ = ()

    pid: int
    started: int
    parent: int
    session: int
    alive: bool


def processes() -> Iterator[Seen]:
    """Yield every process there is now, the dead that nobody has waited for included."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double our time to start
        if name.isdigit():
            process = look(int(name))
            if process is not None:
                yield process


def look(pid: int) -> Seen | None:
    """Return one process, or None where it is gone."""
    text = _read_of(pid, "stat")
    if not text:
        return None
    # The second field is the program's name in parentheses, and may hold any character.
    fields = text[text.rindex(b")") + 2 :].split()
    alive = fields[0] not in {b"Z", b"X"}
    return Seen(pid, int(fields[19]), int(fields[1]), int(fields[3]), alive)


def descendants(those: Iterable[Seen], ancestors: Iterable[int]) -> set[Seen]:
    """Return the children of these, their children and so on.

    The dead are among them: one whose first thread has ended may still have others.
    """
    children: dict[int, list[Seen]] = {}
    for process in those:
        children.setdefault(process.parent, []).append(process)
    found: set[Seen] = set()
    parents = list(ancestors)
    while parents:
        new = children.get(parents.pop(), [])
        found.update(new)
        parents += (process.pid for process in new)
    return found


def supervises(pid: int, deployment_id: str) -> bool:
    """Whether a process is a supervisor of this deployment."""
    try:
        name = os.readlink(f"/proc/{pid}/fd/{MARK}")  # noqa: PTH115 - as above
    except OSError:
        return False
    return name == f"/memfd:{_mark_name(deployment_id)} (deleted)"


def code_of(status: int) -> int:
    """Return the exit code of a wait status: 128 + N for signal N."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def pack(
    cwd: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    sandbox: Sequence[str] | None = None,
    layer: tuple[str, str] | None = None,
) -> bytes:
    """Return the order to start a program. ValueError where a text holds a NUL.

    With `sandbox`, `argv` is a sandbox that has its own PID namespace, and the program to
    interrupt is the first one within it; these texts it finds at file `ARGUMENTS`, each with a
    NUL behind it. `layer` is for `lay`. `argv[0]` is a path.
    """
    variables = [f"{name}={value}" for name, value in environment.items()]
    texts = ["" if sandbox is None else "inner", *(layer or ("", "")), cwd, str(len(argv)), *argv]
    texts += [str(len(sandbox or ())), *(sandbox or ()), *variables]
    if any("\0" in text for text in texts):
        raise ValueError("an argument or environment variable holds a NUL character")
    packed = b"\0".join(map(os.fsencode, texts))
    return len(packed).to_bytes(LENGTH_BYTES, "big") + packed


def lay(over: str, folder: str) -> None:
    """Put a layer over a directory, for this process and its children alone; OSError.

    What they write there is in `upper` in the folder, which has a `work` beside it. The mount
    goes with the last of them. A program around them that does the same takes 5 ms.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Relative names: a comma or a colon in the folder's would need an escape.
    os.chdir(folder)
    options = b"lowerdir=%s,upperdir=upper,workdir=work" % os.fsencode(over)
    for what, *arguments in (
        (libc.unshare, CLONE_NEWNS),
        (libc.mount, None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None),
        (libc.mount, b"overlay", os.fsencode(over), b"overlay", ctypes.c_ulong(0), options),
    ):
        if what(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), over)


def nurse() -> int:
    """Fork a supervisor for each message on standard input, until the engine has gone.

    A message is the deployment's id behind a letter, with the control socket and the file for
    the output; the answer is the supervisor's process id, or `-ERRNO`.
    """
    import socket  # noqa: PLC0415 - of no use to a supervisor

    # A supervisor outlives what ends an engine, and so does what it comes from.
    _catch_signals()
    signal.signal(signal.SIGCHLD, lambda _number, _frame: _bury())
    asked = socket.socket(fileno=0)
    while True:
        message, files, _, _ = socket.recv_fds(asked, LONGEST_ID + 1, 2)
        if not message:
            return 0
        try:
            child = os.fork()
        except OSError as error:
            child = -(error.errno or 1)
        if child == 0:
            _supervise(message[1:], files)
        for file in files:
            os.close(file)
        asked.send(b"%d" % child)


def _bury() -> None:
    """Take leave of the supervisors that have ended; the engine has heard from them."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _supervise(deployment_id: bytes, files: list[int]) -> None:
    """Be a supervisor, from a fork to the end of the process."""
    try:
        os.setsid()
        control, output = files
        for file, number in ((control, 0), (output, 1), (output, 2)):
            os.dup2(file, number)
        os.close(control)
        os.close(output)
        code = main(os.fsdecode(deployment_id))
        with contextlib.suppress(OSError):  # the engine has gone
            os.write(0, b"=%d\n" % code)
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001 - the log gets it, and no fork may go on as a nursery
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _mark_name(deployment_id: str) -> str:
    return _MARK_NAME % deployment_id[:LONGEST_ID]


def _catch_signals() -> None:
    """Have handlers: a signal that is ignored here would be ignored in the program as well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)


def main(deployment_id: str) -> int:
    """Start the program that the control socket asks for, and see it and its children end."""
    subreaper = ctypes.CDLL(None, use_errno=True).prctl
    if subreaper(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no child subreaper")
    _catch_signals()
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    length = int.from_bytes(_read(LENGTH_BYTES), "big")
    if deployment_id:
        # Only now: who looks for what runs of a deployment waits for its supervisors to end.
        held = os.memfd_create(_mark_name(deployment_id))
        os.dup2(held, MARK, inheritable=False)
    inner, over, folder, cwd, count, *texts = _read(length).split(b"\0")
    argv, (given, *texts) = texts[: int(count)], texts[int(count) :]
    arguments, variables = texts[: int(given)], texts[int(given) :]
    try:
        if folder:
            lay(os.fsdecode(over), os.fsdecode(folder))
        os.chdir(cwd)
        environment = dict(variable.split(b"=", 1) for variable in variables)
        program = _spawn(argv, environment, arguments)
    except OSError as error:
        os.write(0, b"-%d\n" % (error.errno or 0))
        return 1
    os.write(0, b"+%d\n" % program)
    family = _Family(program, woken, inner=bool(inner))
    try:
        return family.supervise()
    except BaseException:
        # The log gets the traceback. The engine sees an end that was not the program's, and
        # looks for what is left.
        sys.excepthook(*sys.exc_info())
        os.kill(os.getpid(), signal.SIGKILL)
        raise


def _read(count: int) -> bytes:
    """Return so many bytes of the control socket; the engine's death ends us here as well."""
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            sys.exit(1)
        data += more
    return data


def _spawn(argv: list[bytes], environment: dict[bytes, bytes], arguments: list[bytes]) -> int:
    """Start the program in a session of its own, with nothing of ours but its output."""
    files: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    ]
    if arguments:
        held = os.memfd_create("arguments")
        with open(held, "wb", closefd=False) as file:
            file.writelines(argument + b"\0" for argument in arguments)
        os.lseek(held, 0, os.SEEK_SET)
        files.append((os.POSIX_SPAWN_DUP2, held, ARGUMENTS))
    return os.posix_spawn(
        argv[0],
        argv,
        environment,
        file_actions=files,
        setsid=True,
        setsigmask=[],
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


class _Family:
    """The program and all that has come of it."""

    def __init__(self, program: int, woken: int, *, inner: bool) -> None:
        self.program = program
        self.woken = woken
        self.inner = inner
        self.code: int | None = None
        self.to_interrupt = 0

    def supervise(self) -> int:
        """Wait for the program's end, or an order to end it; return its exit code."""
        while self._reap() and self.code is None:
            ready = self._wait([0, self.woken], LOOK_AGAIN_S if self.to_interrupt else None)
            if 0 in ready:
                orders = os.read(0, 64)
                if not orders or KILL in orders:
                    break
                self.to_interrupt += orders.count(INTERRUPT)
            if self.to_interrupt and self._interrupt():
                self.to_interrupt -= 1
        self._end_all()
        return 128 + signal.SIGKILL if self.code is None else self.code

    def _wait(self, files: list[int], limit_s: float | None) -> list[int]:
        """Wait for one of the files; `woken` is emptied."""
        ready = select.select(files, [], [], limit_s)[0]
        if self.woken in ready:
            os.read(self.woken, 512)
        return ready

    def _reap(self) -> bool:
        """Take leave of every child that has ended; return whether there are others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.program:
                self.code = code_of(status)

    def _interrupt(self) -> bool:
        """Send SIGINT to the program and its process group, as a terminal does.

        A shell would not pass it on to what it waits for. Pulumi's plugins are in groups of
        their own and hear nothing; a sandbox's own first process, which is in the group, is
        kept from it by the kernel. Returns False where the program has not begun yet.
        """
        target = _first_inside(_ours()) if self.inner else self.program
        if target is None:
            return False
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(os.getpgid(target), signal.SIGINT)
        return True

    def _end_all(self) -> None:
        """Kill every descendant, and return when the last one is gone.

        They are stopped first, so that none can go on making others meanwhile.
        """
        if not self._reap():
            return
        stopped: set[Seen] = set()
        for _ in range(STOP_ROUNDS):
            running = _ours() - stopped
            if not running:
                break
            for process in running:
                send(process, signal.SIGSTOP)
            stopped |= running
        while self._reap():
            self._kill_children()
            for process in _ours():
                send(process, signal.SIGKILL)
            self._wait([self.woken], LOOK_AGAIN_S)

    def _kill_children(self) -> None:
        """Kill our own children, faster than one of them can make the next and end.

        What it makes is ours as soon as it has ended. A child's number is not used again
        before it has been waited for.
        """
        before: list[bytes] = []
        while self._reap():
            children = _read_of(os.getpid(), f"task/{os.getpid()}/children").split()
            if children == before:
                return
            for pid in children:
                os.kill(int(pid), signal.SIGKILL)
            before = children


def _ours() -> set[Seen]:
    return descendants(processes(), {os.getpid()})


def _first_inside(those: set[Seen]) -> int | None:
    """Return the one that is number 2 in a PID namespace below ours: 1 is the sandbox itself."""
    for process in those:
        # NSpid: our number of it, then its number in each namespace further in.
        status = _read_of(process.pid, "status")
        numbers = status.partition(b"\nNSpid:")[2].partition(b"\n")[0].split()
        if numbers[1:2] == [b"2"]:
            return process.pid
    return None


def send(process: Seen, number: signal.Signals) -> None:
    """Send a signal to that process, and never to another that has got its number since.

    Where many processes come and go, a number is used again within seconds.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        now = look(process.pid)
        if now is not None and now.started == process.started:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _read_of(pid: int, name: str) -> bytes:
    """Return a file of /proc, or nothing where the process is gone."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - as above
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


if __name__ == "__main__":
    if sys.argv[1:]:
        lay(*sys.argv[1:])  # tried, and gone again with this process
    else:
        sys.exit(nurse())
