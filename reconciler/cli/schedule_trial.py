"""`reconciler schedule --cron`: when an expression is due that is in no file yet; reads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from reconciler import cron, zones
from reconciler.adapters.spec_times import check_zone
from reconciler.cli.look import BOLD, DIM, YELLOW, Look
from reconciler.cron_expression import is_hashed, parse
from reconciler.errors import UsageError
from reconciler.jsonform import time_text
from reconciler.planning.moments import span

__all__ = ["Due", "Trial", "as_json", "as_text", "due"]

# What it is spread by where it has an `H`: a spec has its stack and the schedule's name for that.
_KEY: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An expression of five cron fields, and the zone whose clocks it is read by."""

    cron: str
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A moment it is due, in UTC and there; `skipped_time`: after a time that clocks skip."""

    at: datetime
    there: datetime
    skipped_time: bool


def due(trial: Trial, begin: datetime, length: timedelta | None, most: int) -> tuple[Due, ...]:
    """Return when it is due from `begin` on, within a length of time where one is given.

    UsageError where the expression or the zone is none.
    """
    wrong = cron.check(trial.cron)
    if wrong:
        raise UsageError(f"--cron {trial.cron[:80]!r} {wrong}")
    wrong = check_zone(trial.time_zone)
    if wrong:
        raise UsageError(f"--time-zone {wrong}")
    return tuple(islice(_due(trial, begin, length), most))


def _due(trial: Trial, begin: datetime, length: timedelta | None) -> Iterator[Due]:
    zone, expression = ZoneInfo(trial.time_zone), parse(trial.cron, _KEY)
    for at in cron.slots_after(trial, begin - timedelta(microseconds=1), _KEY):
        if length is not None and at >= begin + length:
            return
        yield Due(
            at=at,
            there=at.astimezone(zone),
            skipped_time=not expression.names(zones.wall(at, zone)),
        )


def as_text(trial: Trial, found: Sequence[Due], now: datetime, how: Look) -> str:
    """Return a line for each time: in UTC, there, and how far away it is."""
    if not found:
        return "it is not due in that time"
    elsewhere = trial.time_zone != "UTC"
    lines = []
    if is_hashed(trial.cron):
        lines.append("H is chosen for each stack and schedule by their names; for one it is")
    for each in found:
        parts = [how.paint(f"{each.at:%a %d %b %Y %H:%M} UTC", BOLD)]
        if elsewhere:
            offset = each.there.isoformat()[-6:]
            parts.append(how.paint(f"{each.there:%a %H:%M}{offset} there", DIM))
        if each.at >= now:
            parts.append(f"in {span(each.at - now)}")
        if each.skipped_time:
            parts.append(how.paint("its time is skipped: the clocks are set on", YELLOW))
        lines.append("  ".join(parts))
    return "\n".join(lines)


def as_json(trial: Trial, found: Sequence[Due]) -> str:
    """Return it for a program."""
    times = [
        {
            "due": time_text(each.at),
            "dueThere": each.there.isoformat(),
            "skippedTime": each.skipped_time,
        }
        for each in found
    ]
    body = {"cron": trial.cron, "timeZone": trial.time_zone, "times": times}
    return json.dumps(body, indent=2, ensure_ascii=False)
