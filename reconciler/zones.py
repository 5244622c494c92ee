"""What the clocks of a time zone show, and when they are changed. Pure.

A zone's clocks run evenly between two changes. Whoever has to turn a time on the wall into a
moment does it within such a stretch, where that is a subtraction and has one answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

__all__ = ["Stretch", "change_between", "first_change", "offset", "stretches", "wall"]

# Two changes within a day that undo one another have never been; so a day whose ends have one
# offset has it all through.
_DAY = timedelta(days=1)
_LAST = datetime.max.replace(tzinfo=UTC) - 2 * _DAY


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `begin` up to but not including `end` the clocks are `offset` ahead of UTC."""

    begin: datetime
    end: datetime
    offset: timedelta


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return what the zone's clocks show, as a naive time."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    """Return how far the zone's clocks are ahead of UTC."""
    return moment.astimezone(zone).utcoffset() or timedelta()


def stretches(zone: ZoneInfo, begin: datetime) -> Iterator[Stretch]:
    """Yield stretches of one offset from `begin` on, without a hole; each lasts a day at most."""
    ahead = offset(begin, zone)
    while begin < _LAST:
        end = begin + _DAY
        following = offset(end, zone)
        if following != ahead:
            change = change_between(begin, end, zone)
            yield Stretch(begin, change, ahead)
            begin = change
        yield Stretch(begin, end, following)
        begin, ahead = end, following


def first_change(begin: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first change of the offset in (begin, end]; None where there is none."""
    while begin < end:
        stop = min(begin + _DAY, end)
        if offset(begin, zone) != offset(stop, zone):
            return change_between(begin, stop, zone)
        begin = stop
    return None


def change_between(begin: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant in (begin, end] from which the offset is that at `end`."""
    before = offset(begin, zone)
    low, high = int(begin.timestamp()), int(end.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if offset(datetime.fromtimestamp(middle, UTC), zone) == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
