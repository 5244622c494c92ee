"""Times in words for people: when it is, and how far from now. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["relative", "span", "when"]

# A unit is used from two of it on: of two moments the older never looks like the newer.
_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def span(length: timedelta) -> str:
    """Say how long it is, in the largest unit of which it has two: `119 seconds`, `2 minutes`."""
    seconds = max(int(length.total_seconds()), 0)
    unit, size = next((each for each in _UNITS if seconds >= 2 * each[1]), _UNITS[-1])
    number = seconds // size
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def relative(moment: datetime, now: datetime) -> str:
    """Say how far a moment is from now: `in 3 hours`, `5 minutes ago`."""
    return f"in {span(moment - now)}" if moment >= now else f"{span(now - moment)} ago"


def when(moment: datetime, now: datetime) -> str:
    """Say when something is: in UTC, and how far from now."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {relative(moment, now)}"
