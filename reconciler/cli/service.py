"""The daemon as a service of systemd's: what is told of its passes and of how its specs stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from reconciler.daemon import Daemon
from reconciler.model import Reason, State
from reconciler.sdnotify import ServiceManager

__all__ = ["Service"]

Say = Callable[[str, State, Reason], None]


class Service:
    """A daemon as systemd's service: tells it of the passes, and in a line how the specs stand."""

    def __init__(self, manager: ServiceManager) -> None:
        self.manager = manager
        self._daemon: Daemon | None = None
        self._moved = True
        self._interrupted = False

    def interrupt(self) -> NoReturn:
        """End what is not a daemon yet, by KeyboardInterrupt; it is remembered, too.

        What Python calls by itself (a finalizer, a callback) may swallow an exception.
        """
        self._interrupted = True
        raise KeyboardInterrupt

    def begin(self) -> None:
        """Go on as a daemon, which `stop` ends; not where it was interrupted before."""
        if self._interrupted:
            raise KeyboardInterrupt

    def follow(self, daemon: Daemon) -> None:
        """Tell of this one."""
        self._daemon = daemon
        daemon.tell(self._passed, self.manager.alive)

    def saying(self, say: Say) -> Say:
        """Return what says the same, and has the specs counted anew after the pass."""

        def both(name: str, state: State, reason: Reason) -> None:
            self._moved = True
            say(name, state, reason)

        return both

    def stop(self) -> None:
        """End it, and say so."""
        self.manager.stopping()
        if self._daemon is not None:
            self._daemon.stop()

    def _passed(self) -> None:
        self.manager.alive()
        if self._moved and self._daemon is not None:
            self._moved = False
            counted = Counter(s.plan.state for s in self._daemon.standings().values())
            states = ", ".join(f"{number} {state}" for state, number in sorted(counted.items()))
            self.manager.status(f"{counted.total()} specs" + (f": {states}" if states else ""))
