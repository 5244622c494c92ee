"""What happened, told at once to whoever waits for it: hints, never the truth itself.

Within one process on SQLite; over all processes of a PostgreSQL database, whose listener
(`session.py`) hands on what it hears. A signal may be lost with a connection, so everybody who
waits also looks by themselves now and then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Signal", "Signals", "Topic"]

_log = logging.getLogger(__name__)


class Topic:
    """What signals are about."""

    QUEUE = "queue"  # something was queued, or a place became free
    CANCEL = "cancel"  # a running deployment, by its id, is to end
    LOG = "log"  # a deployment, by its id, has new log lines or a new status
    LOOK = "look"  # signals may have been lost: look at everything


@dataclass(frozen=True, slots=True)
class Signal:
    """One hint: a topic, and the deployment that it is about, if any."""

    topic: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.topic} {self.about}"

    @classmethod
    def parse(cls, text: str) -> Signal:
        """Read what `str` wrote."""
        topic, _, about = text.partition(" ")
        return cls(topic, about)


class Signals:
    """Hands signals to those who subscribed. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[int, Callable[[Signal], None]] = {}
        self._next = 0

    def subscribe(self, hear: Callable[[Signal], None]) -> Callable[[], None]:
        """Have `hear` called with every signal, quickly, from any thread; return how to end it."""
        with self._lock:
            number = self._next
            self._next += 1
            self._subscribers[number] = hear

        def end() -> None:
            with self._lock:
                self._subscribers.pop(number, None)

        return end

    def emit(self, signal: Signal) -> None:
        """Hand a signal to everybody."""
        with self._lock:
            subscribers = tuple(self._subscribers.values())
        for hear in subscribers:
            try:
                hear(signal)
            except Exception:  # noqa: BLE001 - one listener's fault is not another's
                _log.exception("a listener failed at %s", signal)
