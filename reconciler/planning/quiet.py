"""When a changed file may be read: not while somebody may still be writing it. Pure.

The first part of a spec can be a valid spec, so that it parses does not tell that it is whole.
What is renamed into place is whole. Of what is written in place only time tells: it is read when
nobody has written to it for a while, a short one where it is known to have been closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

__all__ = ["CLOSED_QUIET_S", "QUIET_S", "Change", "Word", "being_written", "readable_at"]

# A file nobody has told of may be open, and its writer pause: an editor over a slow network, a
# program that computes what comes next. Where files are watched only those that are not closed
# yet come to this, so it can be long; where they are not, it is still little beside the rescan.
QUIET_S: Final = 5.0

# What was closed is whole, but where a script appends to it piece by piece: the next piece then
# follows soon. A person who saves a file does not notice this wait.
CLOSED_QUIET_S: Final = 1.0


class Word(IntEnum):
    """What the system has told of a file as it stands; the higher, the more it tells."""

    NONE = 0
    CLOSED = 1
    RENAMED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file that is other than when it was last read. Times are seconds since 1970.

    `written` is when its content was last written, by the clock of its file system, `first` when
    it was first seen as it stands, by ours.
    """

    written: float
    first: float
    word: Word = Word.NONE


def readable_at(change: Change) -> float:
    """Return when it can be read, if it stays as it is until then.

    A time of writing that lies ahead (a clock was set back, another machine's is fast) counts
    from when the file was seen so: two looks that agree, as long apart.
    """
    if change.word is Word.RENAMED:
        return change.first
    quiet_s = CLOSED_QUIET_S if change.word is Word.CLOSED else QUIET_S
    return min(change.written, change.first) + quiet_s


def being_written(changed: datetime, until: datetime) -> str:
    """Say of a file that it may not be whole yet, and when it is looked at again; both in UTC."""
    return (
        f"the file was still being written at {changed:%H:%M:%S} UTC; it is read once it has been "
        f"left alone for {QUIET_S:.0f} seconds, at {until:%H:%M:%S} at the earliest"
    )
