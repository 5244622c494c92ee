"""What is to be told and was not yet: a file each, durable before anything else happens.

    pending/ID.json   what, and to whom it is still to be sent
    done/ID.json      what was sent to all, kept for a week

An id that is in one of both is not taken again. So what is put in before its status is written
is told once, whatever crashes in between: the step that finds it again gives it the same id.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from reconciler.clock import Clock
from reconciler.errors import NotDurableError
from reconciler.files import (
    make_folder,
    move_durably,
    read_regular,
    remove_durably,
    write_durably,
)
from reconciler.jsonform import from_json, to_json
from reconciler.model import News

__all__ = ["MOST_PENDING", "Entry", "Outbox"]

_log = logging.getLogger(__name__)

# News of each of 10,000 specs at once; what comes on top is told in the log alone.
MOST_PENDING: Final = 10_000
# By then a step that was interrupted has long been made again.
DONE_KEPT: Final = timedelta(days=7)
MOST_DONE: Final = 50_000
SWEEP_EVERY: Final = timedelta(hours=1)
# An entry holds a message of at most 4 kB, and names.
_LARGEST: Final = 64 << 10
_ENDING: Final = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to tell, and the names of the targets that have not been told."""

    news: News
    targets: tuple[str, ...]


class Outbox:
    """The outbox in a folder. Safe to use from several threads of one process."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Read what is there; NotDurableError where the folder cannot be made."""
        self._pending_folder, self._done_folder = folder / "pending", folder / "done"
        for each in (self._pending_folder, self._done_folder):
            make_folder(each, as_above=True)
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[str, Entry] = {}
        self._done = {path.stem for path in self._done_folder.iterdir()}
        self._swept: datetime | None = None
        self._full = False
        self.heard: Callable[[], None] = lambda: None
        self._load()
        self._sweep()

    def put(self, news: News, targets: tuple[str, ...]) -> bool:
        """Take news, durably; False where it was taken before, or there is no room for it.

        Raises NotDurableError: it is not taken then.
        """
        with self._lock:
            if news.id in self._pending or news.id in self._done:
                return False
            if len(self._pending) >= MOST_PENDING:
                self._tell_full(news)
                return False
            self._full = False
            entry = Entry(news=news, targets=targets)
            self._write(entry)
            self._pending[news.id] = entry
            self._sweep()
        self.heard()
        return True

    def pending(self, target: str = "") -> tuple[Entry, ...]:
        """Return what is still to be sent (to one target), the oldest first."""
        with self._lock:
            entries = tuple(self._pending.values())
        return tuple(e for e in entries if not target or target in e.targets)

    def settle(self, news_id: str, target: str) -> None:
        """Take down that a target was told, or will not be. NotDurableError: ask again."""
        with self._lock:
            entry = self._pending.get(news_id)
            if entry is None:
                return
            entry = replace(entry, targets=tuple(t for t in entry.targets if t != target))
            if entry.targets:
                self._write(entry)
                self._pending[news_id] = entry
                return
            self._move(news_id)
            del self._pending[news_id]
            self._done.add(news_id)

    def keep_only(self, targets: Iterable[str]) -> None:
        """Forget targets that are no longer there."""
        known = frozenset(targets)
        for entry in self.pending():
            for target in set(entry.targets) - known:
                _log.warning("news for %s, which is no target any more, are dropped", target)
                self.settle(entry.news.id, target)

    # ------------------------------------------------------------ files

    def _load(self) -> None:
        found = []
        for path in self._pending_folder.iterdir():
            if path.suffix != _ENDING:
                path.unlink(missing_ok=True)  # half of a write that a crash interrupted
                continue
            try:
                found.append(from_json(Entry, json.loads(read_regular(path, _LARGEST))))
            except (OSError, ValueError, RecursionError) as error:
                _log.error("%s cannot be read, and is not sent: %s", path, error)
        found.sort(key=lambda entry: (entry.news.at, entry.news.id))
        self._pending = {e.news.id: e for e in found if e.news.id not in self._done}

    def _write(self, entry: Entry) -> None:
        content = json.dumps(to_json(entry)).encode()
        write_durably(self._pending_folder / f"{entry.news.id}{_ENDING}", content, as_above=True)

    def _move(self, news_id: str) -> None:
        path = self._pending_folder / f"{news_id}{_ENDING}"
        try:
            # Its age counts from now.
            now_s = self._clock.now().timestamp()
            os.utime(path, (now_s, now_s))
        except OSError as error:
            raise NotDurableError(f"{path} cannot be moved: {error.strerror}") from error
        move_durably(path, self._done_folder)

    def _sweep(self) -> None:
        """Delete, now and then, what was done long ago."""
        now = self._clock.now()
        if self._swept is not None and timedelta(0) <= now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        oldest = (now - DONE_KEPT).timestamp()
        aged = []
        for name in self._done:
            with contextlib.suppress(OSError):
                aged.append(((self._done_folder / f"{name}{_ENDING}").stat().st_mtime, name))
        aged.sort()
        spare = len(aged) - MOST_DONE
        for number, (at, name) in enumerate(aged):
            if at >= oldest and number >= spare:
                break
            with contextlib.suppress(NotDurableError):
                remove_durably(self._done_folder / f"{name}{_ENDING}")
                self._done.discard(name)

    def _tell_full(self, news: News) -> None:
        if not self._full:
            _log.error(
                "%d news wait to be sent, and more are not kept: look at the targets", MOST_PENDING
            )
        self._full = True
        _log.error("not told: %s: %s: %s", news.name, news.kind, news.message)
