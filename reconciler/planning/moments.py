"""Times in words for people: when it is, and how far from now. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["span", "when"]

# From how many of a unit on the next larger one is used: 90 seconds, 90 minutes, 2 days.
_UNITS: Final = (("second", 1, 90), ("minute", 60, 5400), ("hour", 3600, 172_800))
_DAY_S: Final = 86_400


def span(length: timedelta) -> str:
    """Say how long something takes, in the unit that fits: `45 seconds`, `3 hours`."""
    seconds = max(int(length.total_seconds()), 0)
    for unit, size, limit in _UNITS:
        if seconds < limit:
            return _count(seconds // size, unit)
    return _count(seconds // _DAY_S, "day")


def when(moment: datetime, now: datetime) -> str:
    """Say when something is: in UTC, and how far from now."""
    shown = moment.astimezone(UTC)
    text = f"{shown:%Y-%m-%d %H:%M} UTC"
    if moment >= now:
        return f"{text}, in {span(moment - now)}"
    return f"{text}, {span(now - moment)} ago"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
