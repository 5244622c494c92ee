"""When a schedule is due: cron's times on the wall, as moments. Pure.

What a change of the clocks does is decided here, by the rule of Debian's cron: a job at a
fixed time that falls into the skipped hour runs once right after it, one in the repeated hour
runs once; a job whose minute or hour begins with `*` follows real time. Debian's cron takes a
change of three hours or more for a clock that was corrected; a zone's rules are none, so here
a skipped day is like a skipped hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from reconciler import zones
from reconciler.cron_expression import Expression, check, parse

__all__ = ["MAX_DUE", "Recurrence", "check", "due_slots", "next_slot", "slots_after"]

# Ten hours of a job of every minute; older ones are only ever counted as skipped.
MAX_DUE: Final = 1000

# Each takes some 300 bytes. A fleet with more schedules than that works out some again.
_REMEMBERED: Final = 131_072

_DAY: Final = timedelta(days=1)
# Nothing was due before there was a clock to tell it; keeps arithmetic off the calendar's ends.
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST: Final = datetime(9998, 12, 31, tzinfo=UTC)


class Recurrence(Protocol):
    """What is due again and again: five cron fields, in a time zone of the IANA's."""

    @property
    def cron(self) -> str:
        """Minute, hour, day of month, month and day of week, as `check` accepts them."""
        ...

    @property
    def time_zone(self) -> str:
        """The zone's name."""
        ...


class _Memory:
    """The last answer for one schedule: after `span[0]`, nothing is due before `span[1]`."""

    __slots__ = ("span",)

    def __init__(self) -> None:
        self.span: tuple[datetime, datetime | None] | None = None


@lru_cache(maxsize=_REMEMBERED)
def _memory(cron: str, time_zone: str, key: str) -> _Memory:
    del cron, time_zone, key  # what it is remembered by
    return _Memory()


def next_slot(schedule: Recurrence, after: datetime, key: str) -> datetime | None:
    """Return the first slot strictly after `after`, in UTC; None where there is none.

    `key` is what `H` is made from: "<stack> <schedule name>". Asking again, also with a later
    `after`, costs next to nothing until that slot has come.
    """
    after = max(after, _EARLIEST)
    memory = _memory(schedule.cron, schedule.time_zone, key)
    span = memory.span
    if span is not None and span[0] <= after and (span[1] is None or after < span[1]):
        return span[1]
    found = next(slots_after(schedule, after, key), None)
    memory.span = (after, found)
    return found


def due_slots(
    schedule: Recurrence, since: datetime, now: datetime, key: str, limit: int = MAX_DUE
) -> tuple[datetime, ...]:
    """Return the slots after `since` and up to `now`, in UTC, oldest first.

    Where there are more than `limit`, the newest are kept: it looks back in doubling steps, so
    a long absence costs no more than what is kept.
    """
    since = max(since, _EARLIEST)
    first = next_slot(schedule, since, key)
    if first is None or first > now:
        return ()
    back = _DAY
    while True:
        begin = max(since, now - back) if now - since > back else since
        found: list[datetime] = []
        for slot in slots_after(schedule, begin, key):
            if slot > now:
                break
            found.append(slot)
        if begin <= since or len(found) >= limit:
            return tuple(found[-limit:])
        back *= 2


def slots_after(schedule: Recurrence, after: datetime, key: str) -> Iterator[datetime]:
    """Yield the slots after `after`, in UTC, one after another; there may be no end to them."""
    if after >= _LATEST:
        return
    zone = ZoneInfo(schedule.time_zone)
    expression = parse(schedule.cron, key)
    find = _real_time_slots if expression.real_time else _fixed_slots
    yield from find(expression, zone, after.astimezone(UTC))


def _fixed_slots(expression: Expression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the first instant at which the clock shows each wall time, or has gone past it."""
    last = after
    for wall in expression.walls(zones.wall(after, zone)):
        slot = _first_reached(wall, zone)
        if slot > last:  # two times in one skipped hour are one slot
            last = slot
            yield slot


def _first_reached(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant at which the clock shows `wall`; after a gap, the gap's end."""
    early = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if zones.wall(early, zone) == wall:
        return early
    # In a gap the two readings of `wall` lie on both sides of the change.
    return zones.change_between(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), early, zone)


def _real_time_slots(expression: Expression, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield every instant at which the clock shows a matching time."""
    while True:
        offset = zones.offset(after, zone)
        change = None
        for wall in expression.walls(zones.wall(after, zone)):
            slot = wall.replace(tzinfo=UTC) - offset
            change = zones.first_change(after, slot, zone)
            if change is not None:
                break
            yield slot
            after = slot
        if change is None:
            return
        if expression.names(zones.wall(change, zone)):
            yield change
        after = change
