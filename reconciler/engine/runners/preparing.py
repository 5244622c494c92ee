"""Getting a place ready, as a process that can be waited for and stopped like any other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from reconciler.engine.runners.base import OnOutput, PlaceError, Process

__all__ = ["Preparation", "Ready", "Work"]

_log = logging.getLogger(__name__)

# Gets a place ready, writing to the log, until the event asks it to stop: PlaceError where it
# cannot. What it starts, it ends before it returns.
Work = Callable[[OnOutput, threading.Event], None]

# The code of a program that was killed, 128 + SIGKILL, and of one that failed.
KILLED = 137
FAILED = 1


class Ready:
    """A preparation that had nothing to do."""

    def wait(self, timeout_s: float | None = None) -> int:
        """Return 0 at once."""
        del timeout_s
        return 0

    def interrupt(self) -> None:
        """Do nothing: it has ended."""

    def kill(self) -> None:
        """Do nothing: it has ended."""


class Preparation:
    """Does the work in a thread of its own."""

    def __init__(self, work: Work, on_output: OnOutput) -> None:
        self._work = work
        self._on_output = on_output
        self._stop = threading.Event()
        self._code = FAILED
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)

    def begin(self) -> Process:
        """Start, and return this."""
        self._thread.start()
        return self

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code, or None at the time limit."""
        self._thread.join(timeout_s)
        return None if self._thread.is_alive() else self._code

    def interrupt(self) -> None:
        """Ask it to stop."""
        self._stop.set()

    def kill(self) -> None:
        """Ask it to stop; it ends at once what it waits for."""
        self._stop.set()

    def _run(self) -> None:
        try:
            self._work(self._on_output, self._stop)
            self._code = KILLED if self._stop.is_set() else 0
        except PlaceError as error:
            if self._stop.is_set():
                self._code = KILLED
            else:
                self._on_output(f"{error}\n".encode())
        except Exception:  # noqa: BLE001 - whatever it was, the place is not ready
            _log.exception("a place could not be made ready")
            self._on_output(b"the engine itself failed here; its own log says how\n")
