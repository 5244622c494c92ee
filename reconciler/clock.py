"""The time, as a thing one is given.

Whoever needs the time or has to wait takes a `Clock`. `SystemClock` is the only place
in the reconciler that reads the machine's clock; tests and the simulator give their own.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "Lasting", "SystemClock"]


class Clock(Protocol):
    """Tells the time and waits for it."""

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        ...

    def running(self) -> timedelta:
        """Return how long it has run since some moment: nobody can set this one."""
        ...

    def wait_until(self, moment: datetime, wake: threading.Event) -> None:
        """Return at `moment` or soon after `wake` is set, whichever comes first."""
        ...


class SystemClock:
    """The machine's clock."""

    # A wall clock can jump while we wait; waiting in slices bounds what a jump can cost.
    LONGEST_WAIT_S = 30.0

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the one clock

    def running(self) -> timedelta:
        """Return how long the machine has run; the time that it slept is not in it."""
        return timedelta(seconds=time.monotonic())

    def wait_until(self, moment: datetime, wake: threading.Event) -> None:
        """Return at `moment` or soon after `wake` is set, whichever comes first."""
        while not wake.is_set():
            left_s = (moment - self.now()).total_seconds()
            if left_s <= 0:
                return
            wake.wait(min(left_s, self.LONGEST_WAIT_S))


class Lasting:
    """For how long things have been so, by time that nobody can set.

    A wait that keeps a deployment or its removal away is counted here: a clock that is set
    ahead, or a machine that was off, ends none. It begins anew with the process. May be asked by
    several threads at once, of one key by one of them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Of each key what it is about, since when, and how long it had lasted by then.
        self._known: dict[str, tuple[object, timedelta, timedelta]] = {}

    def lasts(self, key: str, about: object = None, already: timedelta = timedelta(0)) -> timedelta:
        """Return how long `key` has been asked for and been about the same.

        `already` is how long it had lasted before that, as far as the first asking knows.
        """
        now = self._clock.running()
        known = self._known.get(key)
        if known is None or known[0] != about:
            known = self._known[key] = (about, now, max(already, timedelta(0)))
        return now - known[1] + known[2]

    def end(self, key: str) -> None:
        """Say that it is not so any more."""
        self._known.pop(key, None)
