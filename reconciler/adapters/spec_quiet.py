"""Which changed files are left alone for now, as somebody may still be writing them.

The watcher's thread tells what it has heard of them, with what `stat` said then: a word about a
file holds as long as the file stays as it was. The reader asks before it reads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from reconciler.adapters.spec_walk import NO_STAMP, stamp_of
from reconciler.planning.quiet import QUIET_S, Change, Word, readable_at

__all__ = ["Quiet"]

# More words than this are not kept: without one a file is only waited for a little longer. The
# system's own queue holds as many events.
MAX_WORDS: Final = 16_384
# Who is written for longer is said to be waited for; most are read before that.
TOLD_AFTER_S: Final = 2 * QUIET_S


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A file that is left alone until `until`; `began` is when it was first found changed."""

    stamp: int
    change: Change
    began: float
    until: datetime


class Quiet:
    """Remembers which files have changed, and since when each stands as it does."""

    def __init__(self, directory: Path, now: Callable[[], datetime]) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._words: dict[str, tuple[int, Word]] = {}
        self._taken: dict[str, tuple[int, Word]] = {}
        self._waiting: dict[str, _Waiting] = {}

    def heard(self, paths: Iterable[str], word: Word) -> None:
        """Take what the system tells of files (paths below the directory). From any thread."""
        found: dict[str, tuple[int, Word]] = {}
        for relative in paths:
            try:
                found[relative] = stamp_of(os.lstat(f"{self._directory}/{relative}")), word
            except OSError:  # gone again: that will be seen
                continue
        with self._lock:
            if len(self._words) < MAX_WORDS:
                self._words.update(found)

    def begin(self) -> int:
        """Begin to look; return since when, in nanoseconds, a file is written too lately."""
        with self._lock:
            words, self._words = self._words, {}
        self._taken.update(words)
        return int((self._now().timestamp() - QUIET_S) * 1e9)

    def waits(self, relative: str, stamp: int, written_ns: int | None) -> bool:
        """Whether a file that was never read as it stands is to be left alone for now.

        `written_ns` is when it was last written, None where that is long past or now.
        """
        now = self._now().timestamp()
        before = self._waiting.get(relative)
        told, word = self._taken.get(relative, (NO_STAMP, Word.NONE))
        first = now
        if told != stamp:
            word = Word.NONE
        if before is not None and before.stamp == stamp:
            first, word = min(before.change.first, now), max(word, before.change.word)
        written = now if written_ns is None else written_ns / 1e9
        change = Change(written=written, first=first, word=word)
        until = readable_at(change)
        if until <= now:
            self._waiting.pop(relative, None)
            return False
        began = now if before is None else min(before.began, now)
        self._waiting[relative] = _Waiting(
            stamp=stamp, change=change, began=began, until=_moment(until)
        )
        return True

    def follows(self, relative: str, stamp: int, others: Collection[str]) -> None:
        """Leave a file alone as long as others that it is read with."""
        moment = self._now()
        now = moment.timestamp()
        until = max((self._waiting[o].until for o in others if o in self._waiting), default=moment)
        before = self._waiting.get(relative)
        began = now if before is None else min(before.began, now)
        change = Change(written=now, first=now)
        self._waiting[relative] = _Waiting(stamp=stamp, change=change, began=began, until=until)

    def settled(self, relative: str) -> None:
        """Forget a file that is as it was when it was read, or gone."""
        self._taken.pop(relative, None)
        self._waiting.pop(relative, None)

    def end(self, there: Collection[str]) -> None:
        """End a look at the whole directory, in which these files wait."""
        self._taken.clear()
        for relative in self._waiting.keys() - there:
            del self._waiting[relative]

    @property
    def waiting(self) -> Mapping[str, datetime]:
        """Return which files wait, and until when each at least."""
        if not self._waiting:
            return _NOTHING
        return {path: one.until for path, one in self._waiting.items()}

    def lasting(self, relative: str) -> datetime | None:
        """Return when a file was last written that is being written for long, else None."""
        one = self._waiting.get(relative)
        if one is None or self._now().timestamp() - one.began < TOLD_AFTER_S:
            return None
        return _moment(min(one.change.written, one.change.first))


_NOTHING: Final[Mapping[str, datetime]] = MappingProxyType({})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
