"""The small process beside a worker that ends it when it hangs, with all that it runs.

A worker that cannot prove its session to the database in time ends its deployments itself. One
that is stopped, or so busy that it does nothing, cannot; and when it woke up it would go on
with deployments that others have by then. So it tells this process of every proof and of every
deployment, and when the proofs stop coming while there are deployments, the worker is killed,
and whatever is left of them after it. With a worker that ends, this process ends.

On its standard input it takes lines: `proof SECONDS` (of `uptime_s`), `begins ID`, `ended ID`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess  # noqa: TID251 - it is a program of our own
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["KILL_AFTER_S", "Guard", "watch"]

_log = logging.getLogger(__name__)

# Counted from the last proof. Longer than a worker takes to notice by itself, and so much
# shorter than others wait before they take over that what was killed is gone by then.
KILL_AFTER_S = 9.0

_START = """\
import sys
sys.path.insert(0, sys.argv[1])
from reconciler.engine.guard import main
main()
"""


class Guard:
    """The process, seen from the worker. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._proven_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None  # started for the first deployment

    def proof(self, at_s: float) -> None:
        """Tell that the session was alive at that `uptime_s`."""
        with self._lock:
            self._proven_s = at_s
            if self._process is None:
                return
        self._tell(f"proof {at_s:.3f}")

    @contextmanager
    def over(self, deployment_id: str) -> Iterator[None]:
        """Watch over a deployment that is settled within: that touches its stack as well."""
        self.begins(deployment_id)
        try:
            yield
        finally:
            self.ended(deployment_id)

    def begins(self, deployment_id: str) -> None:
        """Watch over a deployment, before anything of it is started."""
        with self._lock:
            self._watched.add(deployment_id)
        self._tell(f"begins {deployment_id}")

    def ended(self, deployment_id: str) -> None:
        """Watch over it no more: nothing of it is left."""
        with self._lock:
            self._watched.discard(deployment_id)
        self._tell(f"ended {deployment_id}")

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is not None:
                _end(self._process)

    def _tell(self, line: str) -> None:
        with self._lock:
            try:
                if self._process is not None:
                    _write(self._process, line)
                    return
            except OSError:
                # Somebody has killed it: nothing may run without one.
                _log.warning("the guard was gone; starting another")
            self._process = _start()
            _write(self._process, f"proof {self._proven_s:.3f}")
            _write(self._process, line)
            for deployment_id in self._watched:
                _write(self._process, f"begins {deployment_id}")


def _start() -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _START, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # What stops or ends the worker's process group leaves this one alone.
        start_new_session=True,
    )


def _write(process: subprocess.Popen[bytes], line: str) -> None:
    if process.stdin is not None:
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    process.wait()


# ---------------------------------------------------------------- the process itself


def main() -> None:
    """Watch over the process that started this one."""
    from reconciler.engine.runners.strays import end_strays  # noqa: PLC0415 - not the worker's

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()
    handle = os.pidfd_open(parent)

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)

    left = watch(sys.stdin.fileno(), kill)
    for deployment_id in left:
        end_strays(deployment_id)


def watch(source: int, kill: Callable[[], None]) -> frozenset[str]:
    """Read lines until they end, or until the proofs stop: then `kill`; return what was running."""
    running: set[str] = set()
    proven = time.clock_gettime(time.CLOCK_BOOTTIME)
    rest = b""
    while True:
        limit_s: float | None = None
        if running:
            left_s = proven + KILL_AFTER_S - time.clock_gettime(time.CLOCK_BOOTTIME)
            limit_s = max(left_s, 0.0)
        if not select.select([source], [], [], limit_s)[0]:
            # What is to be read comes first: we may have been stopped ourselves.
            if limit_s == 0:
                kill()
                return frozenset(running)
            continue
        chunk = os.read(source, 65536)
        if not chunk:
            return frozenset(running)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            word, _, value = line.decode().partition(" ")
            if word == "proof":
                proven = max(proven, float(value))
            elif word == "begins":
                running.add(value)
            else:
                running.discard(value)


if __name__ == "__main__":
    main()
