"""Runs a deployment's commands as plain processes of the engine's user.

Nothing keeps such a program from what the engine's user may do: it is **for programs you
trust**. What it does keep is that no process is left behind (see `supervisor.py`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import shutil
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engine.runners import supervisor
from reconciler.engine.runners.base import Command, Needs, OnOutput, Place, Process
from reconciler.engine.runners.enclosure import Enclosure, Waiting
from reconciler.engine.runners.host import HostPlace, end_on_host
from reconciler.engine.runners.strays import BUILD_ID, end_processes

__all__ = ["ProcessRunner", "Sandbox", "program_path", "start_supervised"]

_log = logging.getLogger(__name__)

# How long the supervisor may take to answer that the program has begun: 20 ms on an idle
# machine. One that takes so much longer is on a machine that can start nothing.
START_LIMIT_S = 60.0

# `+PID`, `-ERRNO` or `=CODE`, each with a line end.
LONGEST_ANSWER = 64

# As much as a pipe holds: fewer, larger pieces cost less.
READ_BYTES = 65536


class ProcessRunner:
    """Starts commands with all that the engine's own user may see and do."""

    def __init__(self) -> None:
        self.name = "process"

    def open(self, needs: Needs) -> Place:
        """Return a place."""
        return HostPlace(needs, self._start)

    def end_strays(self, deployment_id: str) -> int:
        """End what a lost engine has left of a deployment, and return how many there were."""
        return end_on_host(deployment_id)

    def _start(
        self, command: Command, _place: HostPlace, enclosure: Enclosure, on_output: OnOutput
    ) -> Process:
        # Nothing is hidden here, and everything is as writable as it is.
        argv = (program_path(command), *command.argv[1:])
        return start_supervised(command, argv, on_output, enclosure)


def program_path(command: Command) -> str:
    """Return the path of the command's program, by the command's own PATH."""
    name = command.argv[0]
    path = command.environment.get("PATH", os.defpath)
    found = shutil.which(command.cwd / name if os.sep in name else name, path=path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "no such program, or not executable", name)
    return str(Path(command.cwd, found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A program around the command's own, with a PID namespace, and the arguments in its file.

    `layer` is a directory and the folder of what covers it (see `supervisor.lay`).
    """

    arguments: tuple[str, ...] = field(repr=False)
    layer: tuple[str, str] | None = None


def start_supervised(
    command: Command,
    argv: Sequence[str],
    on_output: OnOutput,
    enclosure: Enclosure,
    sandbox: Sandbox | None = None,
) -> Process:
    """Start `argv` for the command, below a supervisor; OSError where that cannot be done.

    A sandbox itself sees nothing of the command's environment: what is meant for the program
    must not reach what runs outside.
    """
    build_id = command.environment.get(BUILD_ID, "")
    environment = command.environment
    if sandbox is not None:
        environment = {BUILD_ID: build_id} if build_id else {}
    arguments = None if sandbox is None else sandbox.arguments
    layer = None if sandbox is None else sandbox.layer
    order = supervisor.pack(str(command.cwd), argv, environment, arguments, layer)
    process = _Supervised(enclosure.take(), on_output, build_id)
    process.begin(order, command.argv[0])
    enclosure.make_next()
    return process


class _Supervised:
    """A command, seen from the engine: the socket to its supervisor, and the output."""

    def __init__(self, supervisor: Waiting, on_output: OnOutput, build_id: str) -> None:
        self._control = supervisor.control
        self._output = supervisor.output
        self._sending = threading.Lock()
        self._on_output = on_output
        self._build_id = build_id
        self._program = 0  # its process id, which is its session's as well
        self._heard = b""
        self._error = 0
        self._answered = threading.Event()
        self._code: int | None = None
        self._failure: Exception | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._follow, name="command-output", daemon=True).start()

    def begin(self, order: bytes, name: str) -> None:
        """Have the program started; OSError where it cannot be."""
        try:
            self._control.settimeout(START_LIMIT_S)
            self._control.sendall(order)
            self._control.settimeout(None)
            if not self._answered.wait(START_LIMIT_S):
                self._error = errno.ETIMEDOUT
        except OSError as error:
            self._error = error.errno or errno.ETIMEDOUT
        if not self._program:
            self.give_up()
            number = self._error or errno.ECHILD
            raise OSError(number, os.strerror(number), name)

    def give_up(self) -> None:
        """Have the supervisor end whatever there is, and wait for that."""
        with self._sending, contextlib.suppress(OSError):  # it has ended already
            self._control.shutdown(socket.SHUT_WR)
        self.wait()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code (128 + N for signal N), or None at the time limit."""
        if not self._ended.wait(timeout_s):
            return None
        if self._failure is not None:
            raise self._failure
        return self._code

    def interrupt(self) -> None:
        """Send SIGINT to the program itself, so that it can end in its own way."""
        self._order(supervisor.INTERRUPT)

    def kill(self) -> None:
        """End the whole tree at once. May be called at any time, more than once."""
        self._order(supervisor.KILL)

    def _order(self, order: bytes) -> None:
        with self._sending, contextlib.suppress(OSError):  # it has ended already
            self._control.sendall(order)

    # ------------------------------------------------------------ the thread that follows it

    def _follow(self) -> None:
        """Hand on the output and hear the supervisor, to the end of both.

        A pipe that nobody empties stops the program, and pulumi must never be stopped so.
        """
        poll, left = select.poll(), {self._output: self._read, self._control.fileno(): self._hear}
        for file in left:
            poll.register(file, select.POLLIN)
        while left:
            for file, _ in poll.poll():
                if not left[file]():
                    poll.unregister(file)
                    del left[file]
        os.close(self._output)
        with self._sending:
            self._control.close()
        self._ended.set()

    def _read(self) -> bool:
        """Hand on what there is; False at the end."""
        chunk = os.read(self._output, READ_BYTES)
        try:
            if chunk:
                self._on_output(chunk)
        except Exception:  # noqa: BLE001 - whatever it is, the pipe must be emptied
            self._on_output = _nowhere
            _log.exception("a command's further output is lost")
        return bool(chunk)

    def _hear(self) -> bool:
        """Take what the supervisor says; False when that was its last."""
        try:
            said = self._control.recv(LONGEST_ANSWER)
        except OSError:
            said = b""
        *lines, self._heard = (self._heard + said).split(b"\n")
        for line in lines:
            if line.startswith(b"+"):
                self._program = int(line[1:])
            elif line.startswith(b"-"):
                self._error = int(line[1:])
            else:
                self._code = int(line[1:])
            self._answered.set()
        if self._code is None and not said:
            self._settle()
            self._answered.set()
        return bool(said) and self._code is None

    def _settle(self) -> None:
        """End what is left: somebody killed the supervisor, and its family has lost its parent."""
        self._code = 128 + signal.SIGKILL
        try:
            end_processes(self._build_id, self._program)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._failure = error


def _nowhere(_: bytes) -> None:
    """Take output and do nothing with it."""
