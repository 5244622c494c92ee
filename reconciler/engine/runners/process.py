"""Runs a deployment's commands as plain processes of the engine's user.

Nothing keeps such a program from what the engine's user may do: it is **for programs you
trust**. What it does keep is that no process is left behind (see `supervisor.py`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import socket
import subprocess  # noqa: TID251 - a runner starts programs
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engine.runners import supervisor
from reconciler.engine.runners.base import Command, Needs, OnOutput, Place, Process
from reconciler.engine.runners.cgroups import Bounds
from reconciler.engine.runners.host import HostPlace, end_on_host
from reconciler.engine.runners.strays import BUILD_ID, SUPERVISES, end_processes

__all__ = ["ProcessRunner", "Sandbox", "program_path", "start_supervised"]

_log = logging.getLogger(__name__)

# How long the supervisor may take to answer that the program has begun: 20 ms on an idle
# machine. One that takes so much longer is on a machine that can start nothing.
START_LIMIT_S = 60.0

# `+PID` or `-ERRNO`, and a line end.
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

    def _start(self, command: Command, place: HostPlace, on_output: OnOutput) -> Process:
        # Nothing is hidden here, and everything is as writable as it is.
        argv = (program_path(command), *command.argv[1:])
        return start_supervised(command, argv, on_output, place.bounds)


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
    """A program around the command's own, with a PID namespace, and the arguments in its file."""

    arguments: tuple[str, ...] = field(repr=False)


def start_supervised(
    command: Command,
    argv: Sequence[str],
    on_output: OnOutput,
    bounds: Bounds,
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
    order = supervisor.pack(str(command.cwd), argv, environment, arguments)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            running = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__],
                env={SUPERVISES: build_id} if build_id else {},
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = _Supervised(running, ours, on_output)
        bounds.enclose(running.pid)
        process.begin(order, command)
    except BaseException:
        ours.close()
        raise
    return process


class _Supervised:
    """A command, seen from the engine: a supervisor, the socket to it, and the output."""

    def __init__(
        self, running: subprocess.Popen[bytes], control: socket.socket, on_output: OnOutput
    ) -> None:
        self._running = running
        self._control = control
        self._sending = threading.Lock()
        self._on_output = on_output
        self._reader = threading.Thread(target=self._read, name="command-output", daemon=True)
        self._program = 0  # its process id, which is its session's as well
        self._build_id = ""

    def begin(self, order: bytes, command: Command) -> None:
        """Have the program started; OSError where it cannot be."""
        name, self._build_id = command.argv[0], command.environment.get(BUILD_ID, "")
        self._reader.start()
        try:
            self._control.settimeout(START_LIMIT_S)
            self._control.sendall(order)
            answer = self._control.recv(LONGEST_ANSWER)
        except OSError as error:
            answer = f"-{error.errno or errno.ETIMEDOUT}".encode()
        if not answer.startswith(b"+"):
            self._control.shutdown(socket.SHUT_RDWR)  # the supervisor ends whatever there is
            self.wait()
            number = int(answer[1:] or errno.ECHILD)
            raise OSError(number, os.strerror(number), name)
        self._program = int(answer[1:])
        self._control.settimeout(None)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code (128 + N for signal N), or None at the time limit."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            code = self._running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        if code < 0:
            # Somebody killed the supervisor, and what it watched over has lost its parent.
            code = 128 - code
            end_processes(self._build_id, self._program)
        self._reader.join(None if end is None else max(0.0, end - time.monotonic()))
        if self._reader.is_alive():
            return None
        with self._sending:
            self._control.close()
        return code

    def interrupt(self) -> None:
        """Send SIGINT to the program itself, so that it can end in its own way."""
        self._order(supervisor.INTERRUPT)

    def kill(self) -> None:
        """End the whole tree at once. May be called at any time, more than once."""
        self._order(supervisor.KILL)

    def _order(self, order: bytes) -> None:
        with self._sending, contextlib.suppress(OSError):  # it has ended already
            self._control.sendall(order)

    def _read(self) -> None:
        """Hand on the output to its end, also where nobody can take it any more.

        A pipe that nobody empties stops the program, and pulumi must never be stopped so.
        """
        if self._running.stdout is None:
            return
        with self._running.stdout as output:
            taken = True
            while chunk := os.read(output.fileno(), READ_BYTES):
                try:
                    if taken:
                        self._on_output(chunk)
                except Exception:  # noqa: BLE001 - whatever it is, the pipe must be emptied
                    taken = False
                    _log.exception("a command's further output is lost")
