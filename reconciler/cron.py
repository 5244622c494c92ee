"""When a schedule is due. Pure; the only module that knows croniter.

croniter answers in plain wall-clock time; what a change of the clocks does is decided here,
by the rule of Debian's cron: a job at a fixed time that falls into the skipped hour runs once
right after it, one in the repeated hour runs once; a job whose minute or hour begins with `*`
follows real time. `H` is a value that a hash of stack and schedule name chooses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from reconciler import zones

__all__ = ["MAX_DUE", "Recurrence", "check", "due_slots", "next_slot"]

# Ten hours of a job of every minute; older ones are only ever counted as skipped.
MAX_DUE: Final = 1000

# Each of sixty minutes by itself takes 170; what was checked is remembered, as it stands.
LONGEST: Final = 1000

_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
# Nothing was due before there was a clock to tell it; keeps arithmetic off the calendar's end.
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_SOME_DAY: Final = _EARLIEST.replace(tzinfo=None)
_MONTHS: Final = [
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# name, lowest, highest, names that stand for numbers from the lowest on
_FIELDS: Final[tuple[tuple[str, int, int, list[str]], ...]] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_ITEM: Final = re.compile(
    r"(?:(?P<star>\*)|(?P<hash>[Hh])(?:\((?P<low>[0-9]{1,3})-(?P<high>[0-9]{1,3})\))?"
    r"|(?P<first>[A-Za-z]{3}|[0-9]{1,3})(?:-(?P<last>[A-Za-z]{3}|[0-9]{1,3}))?)"
    r"(?:/(?P<step>[0-9]{1,3}))?\Z"
)
_SHORTHANDS: Final = {
    "@hourly": "H * * * *",
    "@daily": "H H * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "H H * * H",
    "@monthly": "H H H * *",
    "@yearly": "H H H H *",
    "@annually": "H H H H *",
}


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


def check(cron_text: str) -> str:
    """Return what is wrong with a cron expression and what would be right, or an empty text."""
    if len(cron_text) > LONGEST:
        return f"has {len(cron_text)} characters; {LONGEST} are the most"
    return _check(cron_text)


@lru_cache(maxsize=1024)
def _check(cron_text: str) -> str:
    parts = cron_text.split()
    if cron_text.startswith("@"):
        known = _SHORTHANDS.get(cron_text.lower())
        return "shorthands are not read; write five fields" + (f': "{known}"' if known else "")
    if len(parts) != len(_FIELDS):
        return (
            f"has {len(parts)} fields; five belong here: "
            'minute, hour, day of month, month, day of week, such as "0 3 * * mon-fri"'
        )
    for part, (name, low, high, names) in zip(parts, _FIELDS, strict=True):
        for item in part.split(","):
            wrong = _check_item(item, low, high, names)
            if wrong:
                return f"the {name} field '{part[:40]}': {wrong}"
    try:
        first = next(_walls(cron_text, "check", _SOME_DAY), None)
    except CroniterError:
        return "is no cron expression that can be read"
    return "" if first else "names a day that no month has, so it would never be due"


def _check_item(item: str, low: int, high: int, names: list[str]) -> str:
    match = _ITEM.match(item)
    if match is None:
        return f"'{item[:40]}' is no number, range (1-5), list (1,2), step (*/5), name, '*' or 'H'"
    if match["step"] and not 0 < int(match["step"]) <= high:
        return f"the step {match['step']} is not between 1 and {high}"
    numbers: list[int] = []
    for key in ("low", "high", "first", "last"):
        text = match[key]
        if text is None:
            continue
        if text.isdigit():
            numbers.append(int(text))
        elif text.lower() in names:
            numbers.append(names.index(text.lower()) + low)
        else:
            return f"'{text}' is no number" + (f" or name ({', '.join(names)})" if names else "")
    outside = [number for number in numbers if not low <= number <= high]
    if outside:
        return f"{outside[0]} is not between {low} and {high}"
    if numbers != sorted(numbers):
        return f"the range {item} runs backwards"
    if match["hash"] and match["low"] and match["low"] == match["high"]:
        return f"the range of {item} holds one value; write that"
    return ""


def next_slot(schedule: Recurrence, after: datetime, hash_id: str) -> datetime | None:
    """Return the first slot strictly after `after`, in UTC; None where there is none.

    `hash_id` is what `H` is made from: "<stack> <schedule name>".
    """
    return next(_slots(schedule, max(after, _EARLIEST), hash_id), None)


def due_slots(
    schedule: Recurrence, since: datetime, now: datetime, hash_id: str, limit: int = MAX_DUE
) -> tuple[datetime, ...]:
    """Return the slots after `since` and up to `now`, in UTC, oldest first.

    Where there are more than `limit`, the newest are kept: it looks back in doubling steps, so
    a long absence costs no more than what is kept.
    """
    since = max(since, _EARLIEST)
    back = _DAY
    while True:
        begin = max(since, now - back) if now - since > back else since
        found: list[datetime] = []
        for slot in _slots(schedule, begin, hash_id):
            if slot > now:
                break
            found.append(slot)
        if begin <= since or len(found) >= limit:
            return tuple(found[-limit:])
        back *= 2


def _slots(schedule: Recurrence, after: datetime, hash_id: str) -> Iterator[datetime]:
    minute, hour, *_ = schedule.cron.split()
    zone = ZoneInfo(schedule.time_zone)
    if minute.startswith("*") or hour.startswith("*"):
        yield from _real_time_slots(schedule.cron, zone, after, hash_id)
    else:
        yield from _fixed_slots(schedule.cron, zone, after, hash_id)


def _fixed_slots(cron: str, zone: ZoneInfo, after: datetime, hash_id: str) -> Iterator[datetime]:
    """Yield the first instant at which the clock shows each wall time, or has gone past it."""
    last = after
    for wall in _walls(cron, hash_id, zones.wall(after, zone)):
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


def _real_time_slots(
    cron: str, zone: ZoneInfo, after: datetime, hash_id: str
) -> Iterator[datetime]:
    """Yield every instant at which the clock shows a matching time."""
    while True:
        offset = zones.offset(after, zone)
        change = None
        for wall in _walls(cron, hash_id, zones.wall(after, zone)):
            slot = wall.replace(tzinfo=UTC) - offset
            change = zones.first_change(after, slot, zone)
            if change is not None:
                break
            yield slot
            after = slot
        if change is None:
            return
        # Go on just before the first minute of the new offset, as that offset counts it.
        yield from _at_change(cron, hash_id, change, zone)
        after = change


def _at_change(cron: str, hash_id: str, change: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the instant of a change itself, if it matches."""
    wall = zones.wall(change, zone)
    if next(_walls(cron, hash_id, wall - _MINUTE), None) == wall:
        yield change


def _walls(cron: str, hash_id: str, after: datetime) -> Iterator[datetime]:
    """Yield the matching wall-clock times after `after`, as if no clock ever changed."""
    minute, hour, day, month, weekday = cron.split()
    # Not every month has a 29th; a hash must not choose a day that is sometimes missing.
    day = ",".join("H(1-28)" if item in {"H", "h"} else item for item in day.split(","))
    # implement_cron_bug: a day field that begins with `*` does not count as restricted.
    times = croniter(
        f"{minute} {hour} {day} {month} {weekday}",
        after.replace(microsecond=0),
        hash_id=hash_id,
        ret_type=datetime,
        implement_cron_bug=True,
    )
    while True:
        try:
            wall = times.get_next()
        except CroniterError:  # no such day within croniter's 50 years
            return
        yield wall
