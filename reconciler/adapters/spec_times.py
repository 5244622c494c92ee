"""Durations, moments, time zones and windows, as people write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from reconciler.adapters.spec_schema import did_you_mean
from reconciler.api.wire import Fault, Pointer
from reconciler.model import Window

__all__ = ["check_zone", "parse_duration", "parse_moment", "read_windows"]

# A year: longer ones are slips of the keyboard.
_LONGEST: Final = timedelta(days=366)
_DURATION: Final = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?\Z"
)
_MOMENT: Final = re.compile(
    r"(?P<year>[0-9]{4})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?\Z"
)
# Nothing is due before there was a clock to tell it, or so late that adding to it overflows.
_YEARS: Final = range(1971, 9000)

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY: Final = "mon-sun"
_HOUR: Final = 60


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `10m`, `1h30m` or `7d`; ValueError says what is wrong with it."""
    match = _DURATION.match(text)
    if not text or match is None:
        raise ValueError("is no duration; 30s, 10m, 1h30m or 7d belongs here")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if days > _LONGEST.days:
        raise ValueError(f"is longer than {_LONGEST.days} days")
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(0) < duration <= _LONGEST:
        raise ValueError(f"is not between 1s and {_LONGEST.days}d")
    return duration


def parse_moment(text: str, zone: str = "") -> datetime:
    """Read `2027-01-01T08:00:00Z`, or without an offset a time in `zone`; the answer is in UTC.

    ValueError says what is wrong with it. With no zone an offset has to be there. A time that
    the clocks skip is taken as if they had not, one that they repeat is the first of the two.
    """
    match = _MOMENT.match(text)
    if match is None:
        raise ValueError("is no time; one such as 2027-01-01T08:00:00Z belongs here")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is a time that no calendar or clock has") from None
    if moment.year not in _YEARS:
        raise ValueError(f"is not between the years {_YEARS[0]} and {_YEARS[-1]}")
    if moment.tzinfo is None:
        if not zone:
            raise ValueError("says no offset; end it with Z, or with one such as +01:00")
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)


@lru_cache(maxsize=1024)
def check_zone(zone: str) -> str:
    """Return what is wrong with a time zone's name and what would be right, or an empty text."""
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        known = did_you_mean(zone, _places())
        return f"'{zone[:80]}' is no time zone of the IANA's" + (
            known or "; such as Europe/Berlin or UTC"
        )
    return ""


def _places() -> list[str]:
    """Return the zones named after places; `CET` and the like are better not proposed."""
    return sorted(zone for zone in available_timezones() if "/" in zone and "Etc/" not in zone)


def read_windows(given: object, at: Pointer, faults: list[Fault]) -> tuple[Window, ...]:
    """Read a list of windows that fits the schema; what else is wrong is added to `faults`."""
    if not isinstance(given, list):
        return ()
    found: list[Window] = []
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            continue
        wrong = check_zone(str(item.get("timeZone", "UTC")))
        if wrong:
            faults.append(Fault((*at, index, "timeZone"), wrong))
            continue
        window = _window(item)
        if window is not None:
            found.append(window)
    return tuple(found)


def _window(item: Mapping[str, Any]) -> Window | None:
    try:
        return _shared_window(
            str(item.get("days", _EVERY_DAY)),
            str(item.get("from", "00:00")),
            str(item.get("to", "24:00")),
            str(item.get("timeZone", "UTC")),
        )
    except ValueError:  # the schema has told of it
        return None


@lru_cache(maxsize=1024)
def _shared_window(days: str, start: str, end: str, zone: str) -> Window:
    return Window(days=_days(days), start=_minutes(start), end=_minutes(end), time_zone=zone)


def _days(text: str) -> frozenset[int]:
    """Read `mon-fri`, `mon,wed` or `sat-mon`, which goes over the end of the week."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        count = (end - begin) % len(_DAYS) + 1
        found |= {(begin + step) % len(_DAYS) for step in range(count)}
    return frozenset(found)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * _HOUR + int(minutes)
