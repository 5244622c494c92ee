"""A few threads that wait for many servers, so that the loop need not.

A host that hangs may take a part of them, never all. They are daemon threads: who ends need not
wait for a server that does not answer.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

__all__ = ["Pool"]

_log = logging.getLogger(__name__)

# Each is a git and its network at a time; more would load a small machine and bring little.
WORKERS: Final = 16
# What forges let one client do at once, and leaves threads for all the others.
PER_HOST: Final = 8


class Pool:
    """Runs jobs, at most `workers` at once and `per_host` of one host, the oldest first."""

    def __init__(self, workers: int = WORKERS, per_host: int = PER_HOST) -> None:
        self._workers = workers
        self._per_host = per_host
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, Callable[[], None]]] = deque()
        self._busy: Counter[str] = Counter()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, host: str, job: Callable[[], None]) -> None:
        """Have a job done soon; it handles its own errors. Does nothing after `close`."""
        with self._changed:
            if self._closed:
                return
            self._waiting.append((host, job))
            if self._idle < len(self._waiting) and self._threads < self._workers:
                self._threads += 1
                name = f"git-{self._threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
            self._changed.notify()

    def close(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                found = self._take()
                while found is None and not self._closed:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                    found = self._take()
                if found is None:
                    return
            host, job = found
            try:
                job()
            except Exception:  # noqa: BLE001 - see below
                # A thread that ended would be missed by all that come after.
                _log.exception("asking %s has failed by a mistake of ours", host)
            with self._changed:
                self._busy[host] -= 1
                if not self._busy[host]:
                    del self._busy[host]
                self._changed.notify_all()

    def _take(self) -> tuple[str, Callable[[], None]] | None:
        """Take the oldest job whose host is not too busy; the caller has the lock."""
        for index, (host, job) in enumerate(self._waiting):
            if self._busy[host] < self._per_host:
                del self._waiting[index]
                self._busy[host] += 1
                return host, job
        return None
