"""Keeps what many pages ask for, for a moment, so that it is put together once for all of them.

What comes from another machine is fetched beside the page, which waits for it a moment only: a
person looks when something is wrong, and then nobody may answer for a long time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from reconciler.clock import Clock
from reconciler.errors import ReconcilerError

__all__ = ["Fetched", "Kept"]

T = TypeVar("T")

# Of different keys no more are remembered: organizations, pages of lanes.
MOST_KEPT: Final = 64


class Kept(Generic[T]):
    """Values by a key, each made anew after `age`. Any thread may ask; one of them makes it."""

    def __init__(self, clock: Clock, age: timedelta) -> None:
        self._clock = clock
        self._age = age
        self._lock = threading.Lock()
        self._found: dict[str, tuple[datetime, T]] = {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return what is kept under a key, or what `make` returns."""
        with self._lock:
            now = self._clock.now()
            known = self._found.get(key)
            # A clock that was set back makes nothing last.
            if known is not None and timedelta(0) <= now - known[0] < self._age:
                return known[1]
            value = make()
            self._found.pop(key, None)
            self._found[key] = (self._clock.now(), value)
            if len(self._found) > MOST_KEPT:
                del self._found[next(iter(self._found))]
            return value

    def forget(self) -> None:
        """Have everything made anew: something was done."""
        with self._lock:
            self._found.clear()


class Fetched(Generic[T]):
    """Values by a key that take long to get; each is got anew after `age`, in a thread."""

    def __init__(self, clock: Clock, age: timedelta, wait: timedelta, nothing: T) -> None:
        """`wait`: for how long somebody waits; `nothing`: what they have then."""
        self._clock = clock
        self._age = age
        self._wait_s = wait.total_seconds()
        self._nothing = nothing
        self._lock = threading.Lock()
        # Guarded by _lock.
        self._found: dict[str, tuple[datetime, T]] = {}
        self._under_way: dict[str, threading.Event] = {}

    def get(self, key: str, fetch: Callable[[], T]) -> T:
        """Return what was last fetched, which is new where that comes in time."""
        with self._lock:
            known, now = self._found.get(key), self._clock.now()
            if known is not None and timedelta(0) <= now - known[0] < self._age:
                return known[1]
            done = self._under_way.get(key)
            if done is None:
                if len(self._found) + len(self._under_way) > MOST_KEPT:
                    self._found.clear()
                done = self._under_way[key] = threading.Event()
                threading.Thread(
                    target=self._fetch, args=(key, fetch, done), name="console fetch", daemon=True
                ).start()
        done.wait(self._wait_s)
        with self._lock:
            known = self._found.get(key)
            return self._nothing if known is None else known[1]

    def _fetch(self, key: str, fetch: Callable[[], T], done: threading.Event) -> None:
        try:
            value = fetch()
        except ReconcilerError:
            value = self._nothing
        except BaseException:
            with self._lock:
                del self._under_way[key]
            raise
        with self._lock:
            del self._under_way[key]
            self._found[key] = (self._clock.now(), value)
        done.set()
