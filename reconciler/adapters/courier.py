"""Sends what is in the outbox: a thread a target, so that none holds up another.

At least once: what was sent and could not be taken down as sent is sent again, with the same
id. A target that fails is left alone for longer and longer, and news that could not be told in
a day are given up, which the log tells.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from reconciler.adapters.outbox import Entry, Outbox
from reconciler.clock import Clock
from reconciler.errors import NotDurableError
from reconciler.metrics import Meter, Reading, of_loop
from reconciler.model import News

__all__ = ["Courier", "NotSentError", "Sender", "Surroundings"]

_log = logging.getLogger(__name__)

# After a failure a target is left alone for 1, 2, 4 … seconds.
FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=5)
# Whoever was asleep for a night still hears of it; later nobody needs it.
GIVE_UP_AFTER: Final = timedelta(hours=24)
# A sending that has begun ends within its own limits.
CLOSE_LIMIT_S: Final = 30.0
_FAR_AWAY: Final = timedelta(hours=1)


class NotSentError(Exception):
    """Why news were not sent, without any secret; `final`: nor would they be another time."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Sender(Protocol):
    """Sends to one target."""

    def send(self, news: News) -> None:
        """Send, within half a minute; NotSentError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What couriers need; `jitter` gives numbers from 0 up to 1."""

    outbox: Outbox
    clock: Clock
    meter: Meter
    jitter: Callable[[], float]


class Courier:
    """Sends from `start` until `close`, by name of the target."""

    def __init__(self, senders: Mapping[str, Sender], around: Surroundings) -> None:
        self._around = around
        self._stopping = threading.Event()
        self._settled = threading.Condition()
        self._runners = [
            _Runner(name, sender, around, self._stopping, self._tell_settled)
            for name, sender in senders.items()
        ]

    def start(self) -> None:
        """Send from now on."""
        self._around.outbox.heard = self._wake
        for runner in self._runners:
            runner.thread.start()

    def close(self, drain: timedelta = timedelta(0)) -> None:
        """Send no more; before that wait so long for what has been put in."""
        outbox = self._around.outbox
        with self._settled:
            self._settled.wait_for(lambda: not outbox.pending(), drain.total_seconds())
        self._stopping.set()
        self._wake()
        for runner in self._runners:
            runner.thread.join(CLOSE_LIMIT_S)
        left = len(outbox.pending())
        if left:
            _log.warning("%d news are not sent yet, and will be by the next run", left)

    def readings(self) -> Iterable[Reading]:
        """Tell what waits, for a scrape."""
        pending = self._around.outbox.pending()
        now = self._around.clock.now()
        age = max(((now - e.news.at).total_seconds() for e in pending), default=0.0)
        return (
            Reading(of_loop.NEWS_PENDING, len(pending)),
            Reading(of_loop.NEWS_AGE, max(age, 0.0)),
        )

    def _wake(self) -> None:
        for runner in self._runners:
            runner.wake.set()

    def _tell_settled(self) -> None:
        with self._settled:
            self._settled.notify_all()


class _Runner:
    """Sends to one target, in a thread of its own."""

    def __init__(
        self, target: str, sender: Sender, around: Surroundings,
        stopping: threading.Event, settled: Callable[[], None],
    ) -> None:  # fmt: skip
        self.wake = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"news-{target}", daemon=True)
        self._target = target
        self._sender = sender
        self._around = around
        self._stopping = stopping
        self._settled = settled
        self._tries: dict[str, int] = {}
        self._failures = 0
        self._again_at: datetime | None = None

    def _run(self) -> None:
        clock = self._around.clock
        while not self._stopping.is_set():
            self.wake.clear()
            now = clock.now()
            resting = self._again_at is not None and now < self._again_at <= now + LONGEST_PAUSE * 2
            entry = None if resting else self._next()
            if entry is not None:
                try:
                    self._deliver(entry)
                except Exception:  # noqa: BLE001 - the next may do better
                    _log.exception("news for %s could not be handled", self._target)
                    self._rest(entry.news)
                continue
            moment = self._again_at if resting and self._again_at else now + _FAR_AWAY
            if not self._stopping.is_set():
                clock.wait_until(moment, self.wake)

    def _next(self) -> Entry | None:
        """Return what was tried least, the oldest of these: one that fails holds up no other."""
        waiting = self._around.outbox.pending(self._target)
        return min(waiting, key=lambda e: self._tries.get(e.news.id, 0), default=None)

    def _deliver(self, entry: Entry) -> None:
        news = entry.news
        try:
            self._sender.send(news)
        except NotSentError as error:
            self._failed(news, error)
            return
        self._failures, self._again_at = 0, None
        self._settle(news, "sent")

    def _failed(self, news: News, error: NotSentError) -> None:
        age = self._around.clock.now() - news.at
        if error.final or age >= GIVE_UP_AFTER:
            what = "is refused" if error.final else "could not be sent in a day"
            _log.error(
                "%s: %s: %s for %s %s, and is given up: %s",
                news.name, news.kind, news.message, self._target, what, error,
            )  # fmt: skip
            self._settle(news, "given-up")
            return
        if not self._failures:
            _log.warning(
                "news for %s cannot be sent now, and are tried again: %s", self._target, error
            )
        self._around.meter.count(of_loop.NEWS, str(news.kind), "failed")
        self._rest(news)

    def _rest(self, news: News) -> None:
        self._tries[news.id] = self._tries.get(news.id, 0) + 1
        self._failures += 1
        pause: timedelta = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 16), LONGEST_PAUSE)
        self._again_at = self._around.clock.now() + pause * (1 + 0.2 * self._around.jitter())

    def _settle(self, news: News, outcome: str) -> None:
        try:
            self._around.outbox.settle(news.id, self._target)
        except NotDurableError as error:
            _log.error("news for %s are sent again: %s", self._target, error)
            self._rest(news)
            return
        self._tries.pop(news.id, None)
        self._around.meter.count(of_loop.NEWS, str(news.kind), outcome)
        self._settled()
