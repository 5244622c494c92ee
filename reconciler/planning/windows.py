"""When runs may start: windows of the week, by the clocks of a zone. Pure.

A window is open while the zone's clocks show a day and a time within it, and at no other
moment. So where clocks are set on, a window within the hour that is skipped does not open, and
one that begins there opens right after; where they are set back, the hour that comes twice is
open twice, or closed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from heapq import merge
from typing import Final
from zoneinfo import ZoneInfo

from reconciler import zones
from reconciler.model import Window

__all__ = [
    "closed_between",
    "is_open",
    "next_closing",
    "next_opening",
    "next_opening_of_all",
    "open_in_all",
]

Windows = Sequence[Window]

# Windows repeat by the week, but for changes of the clocks, and those repeat by the year: what
# does not come within a year (and its leap day, and the week it is in) does not come.
_HORIZON: Final = timedelta(days=374)
_DAY: Final = timedelta(days=1)


def is_open(windows: Windows, moment: datetime) -> bool:
    """Say whether one of the windows is open; where there are none, it is always open."""
    return not windows or any(_is_open(window, moment) for window in windows)


def open_in_all(groups: Sequence[Windows], moment: datetime) -> bool:
    """Say whether each group is open: the spec's windows, say, and the host's."""
    return all(is_open(windows, moment) for windows in groups)


def next_opening(windows: Windows, moment: datetime) -> datetime | None:
    """Return the first moment from `moment` on at which one is open, in UTC.

    That is `moment` itself where one is open then; None where none ever opens.
    """
    return next_opening_of_all((windows,), moment)


def next_opening_of_all(groups: Sequence[Windows], moment: datetime) -> datetime | None:
    """Return the first moment from `moment` on at which each group is open, in UTC.

    None where that does not come within a year: windows of one group then exclude the other's.
    """
    return _first(groups, moment, opened=True)


def next_closing(windows: Windows, moment: datetime) -> datetime | None:
    """Return the first moment from `moment` on at which none is open, in UTC.

    That is `moment` itself where none is open then; None where one is open for ever.
    """
    return _first((windows,), moment, opened=False)


def closed_between(
    groups: Sequence[Windows], begin: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the stretches from `begin` to `end` in which not each group is open, in UTC."""
    at, end = begin.astimezone(UTC), end.astimezone(UTC)
    while at < end:
        if open_in_all(groups, at):
            at = min((_first((g,), at, opened=False) or end for g in groups), default=end)
            continue
        opens = min(_first(groups, at, opened=True) or end, end)
        yield at, opens
        at = opens


def _first(groups: Sequence[Windows], moment: datetime, *, opened: bool) -> datetime | None:
    moment = moment.astimezone(UTC)
    if open_in_all(groups, moment) is opened:
        return moment
    limit = moment + _HORIZON
    for edge in merge(*(_edges(window, moment) for windows in groups for window in windows)):
        if edge > limit:
            return None
        if open_in_all(groups, edge) is opened:
            return edge
    return None


def _is_open(window: Window, moment: datetime) -> bool:
    shown = zones.wall(moment, _zone(window.time_zone))
    minute, day = shown.hour * 60 + shown.minute, shown.weekday()
    if window.start < window.end:
        return window.start <= minute < window.end and day in window.days
    if minute >= window.start and day in window.days:
        return True
    return minute < window.end and (day - 1) % 7 in window.days


def _edges(window: Window, after: datetime) -> Iterator[datetime]:
    """Yield, in order, the moments after `after` at which the window may open or close.

    It opens and closes where the clocks show its ends, or where they are changed.
    """
    ends = sorted({window.start % 1440, window.end % 1440})
    for stretch in zones.stretches(_zone(window.time_zone), after):
        if stretch.begin > after:
            yield stretch.begin
        # Naive times: what the clocks show while this stretch lasts.
        begin, end = stretch.begin + stretch.offset, stretch.end + stretch.offset
        day = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        while day < end:
            for minutes in ends:
                shown = day + timedelta(minutes=minutes)
                if begin < shown < end:
                    yield shown - stretch.offset
            day += _DAY


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
