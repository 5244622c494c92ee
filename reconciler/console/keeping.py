"""Keeps what many pages ask for, for a moment, so that it is put together once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from reconciler.clock import Clock

__all__ = ["Kept"]

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
