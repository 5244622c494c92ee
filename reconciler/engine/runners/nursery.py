"""The engine's side of the nursery: asks it for supervisors, and starts it where there is none."""

from __future__ import annotations

import errno
import os
import socket
import subprocess  # noqa: TID251 - a runner starts programs
import sys
import threading

from reconciler.engine.runners import supervisor

__all__ = ["Nursery", "NurseryLostError", "nursery"]

# To fork takes 1 ms, and to start the nursery first 20 ms. One that takes so much longer is on a
# machine that can start nothing.
LIMIT_S = 60.0

LONGEST_ANSWER = 64


class NurseryLostError(ChildProcessError):
    """The nursery has ended meanwhile; the next one does as well, for other files."""


class Nursery:
    """Makes supervisors. It ends with this process, whatever ends that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int:
        """The nursery's process id; 0 where none was needed yet."""
        return 0 if self._running is None else self._running.pid

    def supervisor(self, deployment_id: str, control: int, output: int) -> int:
        """Make one, with these files, and return its process id; OSError, NurseryLostError.

        It waits for an order on `control`. The files stay the caller's. After a NurseryLostError
        there may be one that has them: they are of no use to another.
        """
        message = b":" + os.fsencode(deployment_id)[: supervisor.LONGEST_ID]
        with self._lock:
            answer = self._ask(message, control, output)
        if not answer:
            raise NurseryLostError(errno.ECHILD, "the nursery of supervisors has ended")
        pid = int(answer)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def _ask(self, message: bytes, *files: int) -> bytes:
        """Return the answer; none where the nursery has ended, and then it is let go of."""
        there = self._socket or self._start()
        try:
            socket.send_fds(there, [message], files)
            answer = there.recv(LONGEST_ANSWER)
        except ConnectionError:
            answer = b""
        except OSError:
            self._let_go()
            raise
        if not answer:
            self._let_go()
        return answer

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._running = subprocess.Popen(
                    [sys.executable, "-I", "-S", supervisor.__file__],
                    env={},
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd="/",
                )
        except BaseException:
            ours.close()
            raise
        ours.settimeout(LIMIT_S)
        self._socket = ours
        return ours

    def _let_go(self) -> None:
        """Give up one that has ended or does not answer."""
        if self._socket is not None:
            self._socket.close()
        if self._running is not None:
            self._running.kill()
            self._running.wait()
        self._socket = self._running = None


# One for all deployments: it holds nothing of any of them.
nursery = Nursery()
