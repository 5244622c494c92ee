"""What five cron fields say: which times on the wall they name. Pure; knows no zone.

Minute, hour, day of month, month and day of week, as Vixie's cron reads them: numbers, names,
lists, ranges, steps, and a star in either day field meaning that both must fit, else one of
them is enough. Beyond it there are `L` (the month's last day, `L-3` three days before it,
`friL` its last Friday), `mon#2` (its second Monday), and `H`: a value, or the first of the
steps, that a hash of a key chooses, so that not all is due at once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final

__all__ = ["Expression", "check", "is_hashed", "parse"]

# February the 29th falls on a given weekday every 28 years, or 40 over a century's end.
_YEARS_AHEAD: Final = 50

# Of the calendar's last year no zone's clocks can be worked out to the end.
_LAST_YEAR: Final = MAXYEAR - 1

# Texts are few (most schedules of a fleet share theirs), and what is kept of one is small.
_TEXTS: Final = 4096

# Each of sixty minutes by itself takes 170; what was checked is remembered, as it stands.
_LONGEST: Final = 1000

# The days that every month has: `H` chooses among them.
_SHORTEST_MONTH: Final = 28
_LONGEST_MONTH: Final = 31
_MOST_WEEKS: Final = 5
_LAST: Final = 0  # as the number of a weekday in its month: the last of them

_MINUTE: Final = timedelta(minutes=1)
_MONTHS: Final = [
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True, slots=True)
class _Field:
    """A field's name, its range, and the names that stand for numbers from the lowest on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    also: str = ""  # what it may hold besides what every field may


_DAY_OF_MONTH: Final = _Field("day of month", 1, 31, (), "'L', 'L-3', ")
_DAY_OF_WEEK: Final = _Field("day of week", 0, 7, tuple(_DAYS), "'mon#2', 'friL', ")
_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _DAY_OF_MONTH,
    _Field("month", 1, 12, tuple(_MONTHS)),
    _DAY_OF_WEEK,
)
_VALUE: Final = "[A-Za-z]{3}|[0-9]{1,3}"
_ITEM: Final = re.compile(
    rf"(?:(?P<star>\*)|(?P<hash>[Hh])(?:\((?P<low>{_VALUE})-(?P<high>{_VALUE})\))?"
    rf"|(?P<first>{_VALUE})(?:-(?P<last>{_VALUE}))?)"
    r"(?:/(?P<step>[0-9]{1,3}))?\Z"
)
_FROM_THE_END: Final = re.compile(r"[Ll](?:-(?P<before>[0-9]{1,3}))?\Z")
_WEEKDAY_OF_MONTH: Final = re.compile(rf"(?P<day>{_VALUE})(?:[Ll]|#(?P<number>[0-9]{{1,3}}))\Z")
_SHORTHANDS: Final = {
    "@hourly": "H * * * *",
    "@daily": "H H * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "H H * * H",
    "@monthly": "H H H * *",
    "@yearly": "H H H H *",
    "@annually": "H H H H *",
}


class _WrongError(ValueError):
    """The text is no cron expression; the message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class _Item:
    """From `low` to `high` by `step`; where `hashed`, one value of them, or the first step."""

    low: int
    high: int
    step: int = 0
    hashed: bool = False

    def values(self, chosen: int) -> range:
        """Return the values; `chosen` is the hash, any number from 0 on."""
        if not self.hashed:
            return range(self.low, self.high + 1, self.step or 1)
        width = self.high - self.low + 1
        if not self.step:
            value = self.low + chosen % width
            return range(value, value + 1)
        return range(self.low + chosen % min(self.step, width), self.high + 1, self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """A text that was read, before a key chooses its `H`: the items of the five fields."""

    items: tuple[tuple[_Item, ...], ...]
    from_the_end: frozenset[int]
    weekdays_of_month: frozenset[tuple[int, int]]
    both_days: bool
    real_time: bool

    @property
    def hashed(self) -> bool:
        """Whether there is an `H`."""
        return any(item.hashed for items in self.items for item in items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """The times on the wall that an expression names.

    `from_the_end` counts days before a month's last one; `weekdays_of_month` are a weekday (0
    for Sunday) and which of the month's it is, 0 for the last. Where `both_days`, a day has to
    fit both day fields, else one of them. `real_time`: minute or hour begins with a star, so
    that it follows real time where clocks are changed.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: tuple[int, ...]
    weekdays: frozenset[int]
    from_the_end: frozenset[int]
    weekdays_of_month: frozenset[tuple[int, int]]
    both_days: bool
    real_time: bool

    def names(self, wall: datetime) -> bool:
        """Say whether it names this time, a naive one."""
        if wall.second or wall.microsecond or wall.minute not in self.minutes:
            return False
        if wall.hour not in self.hours or wall.month not in self.months:
            return False
        return wall.day in self.days_of(wall.year, wall.month)

    def walls(self, after: datetime) -> Iterator[datetime]:
        """Yield the times after `after`, as if no clock ever changed; naive ones.

        It ends where there is none within 50 years of the one before.
        """
        first = after.replace(second=0, microsecond=0) + _MINUTE
        times = [(hour, minute) for hour in self.hours for minute in self.minutes]
        for year, month, days in self._months(first):
            on_first = (year, month) == (first.year, first.month)
            for day in days:
                if on_first and day < first.day:
                    continue
                since = (first.hour, first.minute) if on_first and day == first.day else (0, 0)
                for hour, minute in times[bisect_left(times, since) :]:
                    yield datetime(year, month, day, hour, minute)  # noqa: DTZ001 - a wall's

    def _months(self, first: datetime) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Yield year, month and days of the months that have some, until too long none has."""
        year, last_year = first.year, first.year + _YEARS_AHEAD
        while year <= min(last_year, _LAST_YEAR):
            for month in self.months:
                if (year, month) < (first.year, first.month):
                    continue
                days = self.days_of(year, month)
                if days:
                    last_year = year + _YEARS_AHEAD
                    yield year, month, days
            year += 1

    def days_of(self, year: int, month: int) -> tuple[int, ...]:
        """Return the days of a month that fit the two day fields, in order."""
        weekday, length = monthrange(year, month)  # the first day's, 0 for Monday
        return tuple(
            day for day in range(1, length + 1) if self._fits(day, (weekday + day) % 7, length)
        )

    def _fits(self, day: int, weekday: int, length: int) -> bool:
        of_month = day in self.days or length - day in self.from_the_end
        if of_month is not self.both_days:
            return of_month
        return (
            weekday in self.weekdays
            or (weekday, (day + 6) // 7) in self.weekdays_of_month
            or (day + 7 > length and (weekday, _LAST) in self.weekdays_of_month)
        )


def check(text: str) -> str:
    """Return what is wrong with a cron expression and what would be right, or an empty text."""
    if len(text) > _LONGEST:
        return f"has {len(text)} characters; {_LONGEST} are the most"
    return _check(text)


@lru_cache(maxsize=1024)
def _check(text: str) -> str:
    try:
        expression = parse(text, "")
    except _WrongError as error:
        return str(error)
    # What `H` chooses makes no difference here: it never chooses a day that may be missing.
    some_day = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall's
    if next(expression.walls(some_day), None) is None:
        return "names a day that no month has, so it would never be due"
    return ""


def is_hashed(text: str) -> bool:
    """Whether a key chooses the times of an expression that `check` has found right."""
    return _read(text).hashed


def parse(text: str, key: str) -> Expression:
    """Read an expression; ValueError where `check` has something to say.

    `key` is what `H` is made from: each field gets a number of its own from it.
    """
    return _chosen(text, key) if _read(text).hashed else _without_hash(text)


@lru_cache(maxsize=_TEXTS)
def _without_hash(text: str) -> Expression:
    """Return what is the same for every key."""
    return _chosen(text, "")


def _chosen(text: str, key: str) -> Expression:
    read = _read(text)
    minutes, hours, days, months, weekdays = (
        _values(items, field.name, key) for items, field in zip(read.items, _FIELDS, strict=True)
    )
    return Expression(
        minutes=minutes,
        hours=hours,
        days=frozenset(days),
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        from_the_end=read.from_the_end,
        weekdays_of_month=read.weekdays_of_month,
        both_days=read.both_days,
        real_time=read.real_time,
    )


def _values(items: tuple[_Item, ...], field: str, key: str) -> tuple[int, ...]:
    chosen = 0
    if any(item.hashed for item in items):
        digest = blake2b(f"{field}\n{key}".encode(), digest_size=8).digest()
        chosen = int.from_bytes(digest, "big")
    return tuple(sorted({value for item in items for value in item.values(chosen)}))


@lru_cache(maxsize=_TEXTS)
def _read(text: str) -> _Text:
    parts = text.split()
    if text.startswith("@"):
        known = _SHORTHANDS.get(text.lower())
        raise _WrongError(
            "shorthands are not read; write five fields" + (f': "{known}"' if known else "")
        )
    if len(parts) != len(_FIELDS):
        raise _WrongError(
            f"has {len(parts)} fields; five belong here: "
            'minute, hour, day of month, month, day of week, such as "0 3 * * mon-fri"'
        )
    items: list[tuple[_Item, ...]] = []
    from_the_end: set[int] = set()
    weekdays_of_month: set[tuple[int, int]] = set()
    for part, field in zip(parts, _FIELDS, strict=True):
        plain: list[_Item] = []
        for each in part.split(","):
            try:
                if field is _DAY_OF_MONTH and (end := _FROM_THE_END.match(each)):
                    from_the_end.add(_before_the_end(end))
                elif field is _DAY_OF_WEEK and (one := _WEEKDAY_OF_MONTH.match(each)):
                    weekdays_of_month.add(_weekday_of_month(one))
                else:
                    plain.append(_item(each, field))
            except _WrongError as error:
                raise _WrongError(f"the {field.name} field '{part[:40]}': {error}") from None
        items.append(tuple(plain))
    _check_hashed_months(items, from_the_end)
    minute, hour, day, _, weekday = parts
    return _Text(
        items=tuple(items),
        from_the_end=frozenset(from_the_end),
        weekdays_of_month=frozenset(weekdays_of_month),
        both_days=day.startswith("*") or weekday.startswith("*"),
        real_time=minute.startswith("*") or hour.startswith("*"),
    )


def _item(text: str, field: _Field) -> _Item:
    match = _ITEM.match(text)
    if match is None:
        raise _WrongError(
            f"'{text[:40]}' is no number, range (1-5), list (1,2), step (*/5), name, "
            f"{field.also}'*' or 'H'"
        )
    step = int(match["step"] or 0)
    if match["step"] and not 0 < step <= field.high:
        raise _WrongError(f"the step {match['step']} is not between 1 and {field.high}")
    if match["star"]:
        return _Item(field.low, field.high, step)
    if match["hash"]:
        return _hashed(match, field, step)
    first = _number(match["first"], field)
    last = field.high if step else first  # "5/15" goes on to the end
    if match["last"]:
        last = _number(match["last"], field)
    if last < first:
        raise _WrongError(f"the range {text} runs backwards")
    return _Item(first, last, step)


def _hashed(match: re.Match[str], field: _Field, step: int) -> _Item:
    low, high = field.low, field.high
    if field is _DAY_OF_MONTH:
        high = _SHORTEST_MONTH
    if field is _DAY_OF_WEEK:
        high = 6  # 7 is Sunday once more
    if match["low"]:
        low, high = _number(match["low"], field), _number(match["high"], field)
    if high < low:
        raise _WrongError(f"the range {match[0]} runs backwards")
    if high == low:
        raise _WrongError(f"the range of {match[0]} holds one value; write that")
    if field is _DAY_OF_MONTH and high > _SHORTEST_MONTH:
        raise _WrongError(
            f"{match[0]} may choose a day that some months lack; end its range at {_SHORTEST_MONTH}"
        )
    return _Item(low, high, step, hashed=True)


def _number(text: str, field: _Field) -> int:
    if text.isdigit():
        number = int(text)
        if not field.low <= number <= field.high:
            raise _WrongError(f"{number} is not between {field.low} and {field.high}")
        return number
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.low
    names = f" or name ({', '.join(field.names)})" if field.names else ""
    raise _WrongError(f"'{text}' is no number{names}")


def _before_the_end(match: re.Match[str]) -> int:
    if match["before"] is None:
        return 0
    before = int(match["before"])
    if not 0 < before < _LONGEST_MONTH:
        raise _WrongError(f"{match[0]} is not between L-1 and L-{_LONGEST_MONTH - 1}")
    return before


def _weekday_of_month(match: re.Match[str]) -> tuple[int, int]:
    weekday = _number(match["day"], _DAY_OF_WEEK) % 7
    if match["number"] is None:
        return weekday, _LAST
    number = int(match["number"])
    if not 0 < number <= _MOST_WEEKS:
        raise _WrongError(f"{match[0]}: a month has at most five of a weekday; write #1 to #5")
    return weekday, number


def _check_hashed_months(items: list[tuple[_Item, ...]], from_the_end: set[int]) -> None:
    """Refuse a day that some months lack together with a month that a hash chooses."""
    _, _, days, months, _ = items
    if not any(month.hashed for month in months):
        return
    late = [day.low for day in days if not day.hashed and day.low > _SHORTEST_MONTH]
    if late:
        what = f"the day {min(late)}"
    elif max(from_the_end, default=0) >= _SHORTEST_MONTH:
        what = f"L-{max(from_the_end)}"
    else:
        return
    raise _WrongError(f"a hashed month may lack {what}; write a month, or another day")
