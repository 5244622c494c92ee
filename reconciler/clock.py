"""The time, as a thing one is given.

Whoever needs the time or has to wait takes a `Clock`. `SystemClock` is the only place
in the reconciler that reads the machine's clock; tests and the simulator give their own.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


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
