"""One command in a container, seen from the engine: a client that follows it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import subprocess  # noqa: TID251 - a runner starts programs
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO

from reconciler.engine.runners.base import Command, OnOutput, PlaceError
from reconciler.engine.runners.container_engine import LONGEST_ERROR, ContainerEngine
from reconciler.engine.runners.container_script import READ_AND_RUN, script

__all__ = ["ContainerProcess"]

_log = logging.getLogger(__name__)

# What a shell in a running container takes to begin: 0.15 s on an idle machine.
START_LIMIT_S = 60.0

# How long an interrupt may take to be handed over.
INTERRUPT_LIMIT_S = 30.0

READ_BYTES = 65536

# `+N` or `-N`.
LONGEST_ANSWER = 64

# A shell gives this and more for a program that a signal has ended; the shell itself may have
# been ended so as well, and then it has left others.
KILLED = 137
_SIGNALED = 128

# What the client itself ends with where it has lost the container.
_OF_THE_CLIENT = frozenset({125, 126, 127, 255})


class ContainerProcess:
    """A command and all that it has started in its container."""

    def __init__(
        self,
        engine: ContainerEngine,
        container: str,
        end_all: Callable[[str], None],
        on_output: OnOutput,
    ) -> None:
        self._engine = engine
        self._container = container
        self._end_all = end_all
        self._on_output = on_output
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long
        self._reader = threading.Thread(target=self._read, name="command-output", daemon=True)
        self._answered = threading.Event()
        self._answer = b""
        self._ending = threading.Lock()
        self._killed = False
        self._code: int | None = None
        self._error = ""

    def begin(self, command: Command, image_names: tuple[str, ...]) -> None:
        """Have the program started; OSError where it cannot be."""
        try:
            text = os.fsencode(script(command, image_names))
            argv = (self._engine.program, "exec", "-i", self._container)
            self._running = subprocess.Popen(
                [*argv, "/bin/sh", "-c", READ_AND_RUN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except BaseException:
            self._errors.close()
            raise
        self._reader.start()
        if self._running.stdin is not None:
            # Where the client has ended already, its error says why.
            with contextlib.suppress(BrokenPipeError), self._running.stdin as to_shell:
                to_shell.write(text)
        self._answered.wait(START_LIMIT_S)
        if self._answer.startswith(b"+"):
            return
        name = command.argv[0]
        if self._answer.startswith(b"-") and self._answer[1:].isdigit():
            number = int(self._answer[1:])
            self.wait()
            raise OSError(number, os.strerror(number), name)
        self.kill()
        self.wait()
        raise OSError(errno.ECHILD, f"the container did not start it: {self._error}", name)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code (128 + N for signal N), or None at the time limit."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            code = self._running.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(None if end is None else max(0.0, end - time.monotonic()))
        if self._reader.is_alive():
            return None
        with self._ending:
            if self._code is None:
                self._errors.seek(0)
                self._error = self._errors.read(LONGEST_ERROR).decode(errors="replace").strip()
                self._errors.close()
                self._code = self._settle(code)
                if self._running.stdout is not None:
                    self._running.stdout.close()
        return self._code

    def interrupt(self) -> None:
        """Send SIGINT to the program and its process group, as a terminal does."""
        if self._running.poll() is not None or not self._answer.startswith(b"+"):
            return
        group = self._answer[1:].decode()
        send = ["/bin/sh", "-c", 'kill -INT "-$0"', group]
        try:
            answer = self._engine.call(["exec", self._container, *send], limit_s=INTERRUPT_LIMIT_S)
        except PlaceError as error:
            _log.warning("a command in %s was not interrupted: %s", self._container, error)
            return
        if answer.code and self._running.poll() is None:
            _log.warning("a command in %s was not interrupted: %s", self._container, answer.reason)

    def kill(self) -> None:
        """End the container with all that is in it, at once."""
        with self._ending:
            if self._code is not None or self._killed:
                return
            self._killed = True
        self._end_all(self._container)
        # The client would see it by itself; it may have never got that far.
        self._running.terminate()

    def _settle(self, code: int) -> int:
        """Return the command's own code, and have what it has left ended."""
        if self._killed:
            return KILLED
        lost = code < 0 or (code in _OF_THE_CLIENT and bool(self._error))
        if lost or code > _SIGNALED:
            self._end_all(self._container)
        if lost:
            _log.warning("container %s was lost: %s", self._container, self._error)
            return KILLED
        return code

    def _read(self) -> None:
        """Take the answer, then hand on the output to its end, also where nobody can take it."""
        if self._running.stdout is None:
            return
        output = self._running.stdout.fileno()
        chunk = b""
        while b"\n" not in chunk and len(chunk) < LONGEST_ANSWER:
            more = os.read(output, READ_BYTES)
            if not more:
                break
            chunk += more
        self._answer, _, chunk = chunk.partition(b"\n")
        self._answered.set()
        taken = True
        while chunk or (chunk := os.read(output, READ_BYTES)):
            try:
                if taken:
                    self._on_output(chunk)
            except Exception:  # noqa: BLE001 - whatever it is, the pipe must be emptied
                taken = False
                _log.exception("a command's further output is lost")
            chunk = b""
