"""Logs in a shared database: every process can read them while they are written.

Lines are gathered for a moment and written together: a row a line would cost more than what
is logged about.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate

from reconciler.api.types import LogLine
from reconciler.engine.logs.lines import StepLog, parse_entry
from reconciler.engine.logs.pages import LARGEST_PAGE_BYTES, KeptLog, LogStore
from reconciler.engine.store import Claim, DatabaseLostError, FencedError, LogPart, LogParts
from reconciler.errors import NotDurableError

__all__ = ["SharedLogs"]

_log = logging.getLogger(__name__)

# How long lines are gathered: half of what a follower may wait for is left for all the rest.
GATHER_S = 0.02

# A part is written at once when it has so much; a page of a log then takes few parts.
LARGEST_PART_BYTES = 64 * 1024

# What is held while the database takes nothing; beyond that lines are lost.
MOST_HELD_BYTES = 4 * 1024 * 1024

# A log that is closed while the database does not answer is written again after these waits:
# what it holds then has nobody else to write it. A restart of the database takes longer.
CLOSING_WAITS_S = (0.0, 0.05, 0.2, 0.5, 1.0)


class _Step(StepLog):
    """The log of one step. What it has taken is written by itself, or by the store's thread."""

    def __init__(
        self,
        parts: LogParts,
        where: tuple[Claim, int],
        now_ns: Callable[[], int],
        store: SharedLogs,
    ) -> None:
        self._parts = parts
        self._claim, self._step = where
        self._store = store
        self._lock = threading.Lock()
        self._taken: list[str] = []  # guarded by _lock, as are the next two
        self._taken_bytes = 0
        self._next_line = parts.lines(self._claim.deployment_id, self._step)
        self._writing = threading.Lock()
        self._unsure: LogPart | None = None  # guarded by _writing
        self._fenced = False
        super().__init__(now_ns, 0)

    def _append(self, entries: Sequence[str]) -> None:
        while entries:
            with self._lock:
                count = self._fitting(entries)
                self._taken += entries[:count]
                self._taken_bytes += sum(map(len, entries[:count]))
                full = self._taken_bytes >= LARGEST_PART_BYTES
            entries = entries[count:]
            if full:
                self.write_part()

    def _fitting(self, entries: Sequence[str]) -> int:
        """Return how many of them make a part full, or all where they do not."""
        sizes = accumulate(map(len, entries), initial=self._taken_bytes)
        return next(
            (n for n, size in enumerate(sizes) if n and size >= LARGEST_PART_BYTES), len(entries)
        )

    def _flush(self) -> None:
        if self._taken:
            self._store.soon(self)

    def _close(self) -> None:
        """Write what is left; where that is not answered, again a few times: nobody comes after."""
        pause = threading.Event()
        for wait_s in CLOSING_WAITS_S:
            self.write_part()
            if self._fenced or (self._unsure is None and not self._taken):
                return
            pause.wait(wait_s)
        self.write_part()

    def write_part(self) -> None:
        """Write what was taken, as a part."""
        with self._writing:
            # One that was not answered may be there: it is given again as it was, and alone.
            if self._unsure is not None and not self._write(self._unsure):
                return
            with self._lock:
                taken, self._taken, self._taken_bytes = self._taken, [], 0
            if taken:
                self._write(
                    LogPart(
                        first_line=self._next_line,
                        lines=len(taken),
                        entries="".join(taken).encode(),
                    )
                )

    def _write(self, part: LogPart) -> bool:
        """Write a part, or keep it to be written again; return whether others may follow it."""
        self._unsure = None
        if self._fenced:
            return False
        try:
            self._parts.append(self._claim, self._step, part)
        except FencedError as error:
            _log.warning("its log goes on elsewhere: %s", error)
            self._fenced = True
            return False
        except (NotDurableError, DatabaseLostError) as error:
            self._unsure = part
            self._bound(error)
            return False
        self._next_line += part.lines
        return True

    def _bound(self, error: Exception) -> None:
        """Let go of what was taken since, where that is too much to hold."""
        with self._lock:
            if self._taken_bytes > MOST_HELD_BYTES:
                _log.error("%d lines of a log are lost: %s", len(self._taken), error)
                self._taken, self._taken_bytes = [], 0


class SharedLogs(LogStore):
    """All logs of a database that processes share."""

    def __init__(self, parts: LogParts, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._now_ns = now_ns
        self._changed = threading.Condition()
        self._waiting: set[_Step] = set()  # guarded by _changed
        self._thread: threading.Thread | None = None

    def open(self, claim: Claim, step: int) -> StepLog:
        """Open the log of a step, counted from 0, to append to it."""
        return _Step(self._parts, (claim, step), self._now_ns, self)

    def page(
        self, deployment_id: str, step: int, offset: int, count: int
    ) -> tuple[tuple[LogLine, ...], bool]:
        """Return up to `count` lines of a step from line `offset` on; whether there are more."""
        lines: list[LogLine] = []
        size, next_line = 0, offset
        while parts := self._parts.read(deployment_id, step, next_line):
            for part in parts:
                entries = part.entries.splitlines()
                for entry in entries[next_line - part.first_line :]:
                    if len(lines) >= count or size > LARGEST_PAGE_BYTES:
                        return tuple(lines), True
                    lines.append(parse_entry(entry))
                    size += len(entry)
                next_line = part.first_line + part.lines
        return tuple(lines), False

    def kept(self) -> tuple[KeptLog, ...]:
        """Return what there is, deployment by deployment."""
        return tuple(
            KeptLog(deployment_id=found, written=written, size_bytes=size)
            for found, written, size in self._parts.sizes()
        )

    def forget(self, deployment_ids: Collection[str]) -> None:
        """Delete the logs of these deployments, of which nothing is written any more."""
        self._parts.forget(deployment_ids)

    def soon(self, step: _Step) -> None:
        """Have a step's part written in a moment."""
        with self._changed:
            self._waiting.add(step)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_all, name="log-writer", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def _write_all(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
            pause.wait(GATHER_S)
            with self._changed:
                steps, self._waiting = self._waiting, set()
            for step in steps:
                try:
                    step.write_part()
                except Exception:  # noqa: BLE001 - the other logs go on
                    _log.exception("a part of a log could not be written")
