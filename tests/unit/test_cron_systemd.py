"""Our slots against systemd's calendar, away from changes of the clocks.

It shares nothing with cron but the calendar: another syntax, another program. What it cannot
say is left out: one of two day fields being enough, `H`, and lists that hold `L`.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from reconciler import zones
from reconciler.cron import slots_after
from reconciler.model import Schedule

# `make test-long` asks for more.
CASES = int(os.environ.get("CRON_PAIRS", "150"))
AT_ONCE = 30
ELAPSES = 4
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")

# Steps without an end are a list here: systemd's own 5/25 leaves out the first after midnight, its
# 1/9 the first of January, as docs/time.md says.
MINUTES = {
    "*": "*",
    "0": "0",
    "*/7": "0,7,14,21,28,35,42,49,56",
    "*/15": "0/15",
    "5/25": "5,30,55",
    "10-50/20": "10..50/20",
    "3,17,59": "3,17,59",
}
HOURS = {
    "*": "*",
    "3": "3",
    "*/5": "0,5,10,15,20",
    "8-18/2": "8..18/2",
    "0,23": "0,23",
    "22-23": "22..23",
    "5/9": "5,14,23",
}
MONTHS = {
    "*": "*",
    "jan": "1",
    "3,6,9,12": "3,6,9,12",
    "*/4": "1,5,9",
    "6-8": "6..8",
    "nov-dec": "11..12",
}
DAYS = {
    "*": "-*",
    "1": "-1",
    "15,28": "-15,28",
    "10-20/3": "-10..20/3",
    "31": "-31",
    "L": "~1",
    "L-3": "~4",
    "L-20": "~21",
    "*/9": "-1,10,19,28",
}
WEEKDAYS = {
    "*": "",
    "mon-fri": "Mon..Fri",
    "0": "Sun",
    "7": "Sun",
    "sat,SUN": "Sat,Sun",
    "5-7": "Fri..Sun",
}
OF_THE_MONTH = {
    "friL": ("Fri", "~7/1"),
    "0L": ("Sun", "~7/1"),
    "mon#2": ("Mon", "-8..14"),
    "3#5": ("Wed", "-29..31"),
    "sat#1": ("Sat", "-1..7"),
}
ELAPSE = re.compile(r"(?:Next elapse|Iter(?:\.|ation) #\d+): (?:(never)|\w+ ([\d-]+ [\d:]+) UTC)$")


def case(dice: random.Random) -> tuple[str, str]:
    """Return the same times as cron says them, and as systemd does."""
    minute, hour = dice.choice(list(MINUTES)), dice.choice(list(HOURS))
    month = dice.choice(list(MONTHS))
    day, weekday = "*", "*"
    kind = dice.random()
    if kind < 0.3:
        day = dice.choice(list(DAYS))
    elif kind < 0.5:
        weekday = dice.choice(list(WEEKDAYS))
    elif kind < 0.6:
        day, weekday = "*/9", dice.choice(list(WEEKDAYS))
    elif kind < 0.8:
        weekday = dice.choice(list(OF_THE_MONTH))
    name, of_month = OF_THE_MONTH.get(weekday, (WEEKDAYS.get(weekday, ""), DAYS[day]))
    calendar = f"{name} *-{MONTHS[month]}{of_month} {HOURS[hour]}:{MINUTES[minute]}:00"
    return f"{minute} {hour} {day} {month} {weekday}", calendar.strip()


def ask(calendars: list[str], after: datetime) -> subprocess.CompletedProcess[str]:
    base = f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC"
    return subprocess.run(
        ["systemd-analyze", "calendar", f"--iterations={ELAPSES}", base, *calendars],
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )


def elapses(calendars: list[str], after: datetime) -> dict[str, list[datetime]]:
    """Ask systemd for the next times of each; it gives up on some that are far between."""
    done = ask(calendars, after)
    while done.returncode:
        given_up = re.search(r"elapse for '(.*)': Resource deadlock avoided", done.stderr)
        assert given_up, done.stderr
        calendars = [calendar for calendar in calendars if calendar != given_up[1]]
        done = ask(calendars, after)
    found: dict[str, list[datetime]] = {}
    for calendar, block in zip(calendars, done.stdout.strip().split("\n\n"), strict=True):
        matches = [m for m in map(ELAPSE.search, block.splitlines()) if m]
        assert matches, block
        texts = [m[2] for m in matches if m[2]]
        found[calendar] = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]
    return found


def near_a_change(slots: list[datetime], zone: ZoneInfo) -> bool:
    around = timedelta(hours=3)
    return any(zones.first_change(slot - around, slot + around, zone) for slot in slots)


def test_slots_agree_with_systemd() -> None:
    """Random expressions have the next times that systemd gives what says the same."""
    dice = random.Random(252)
    compared = 0
    while compared < CASES:
        after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(
            seconds=dice.randrange(7 * 365 * 86400)
        )
        cases = [(*case(dice), dice.choice(ZONES)) for _ in range(AT_ONCE)]
        theirs = elapses([f"{calendar} {zone}" for _, calendar, zone in cases], after)
        for cron, calendar, zone in cases:
            expected = theirs.get(f"{calendar} {zone}")
            if expected is None:
                continue
            schedule = Schedule(name="n", cron=cron, time_zone=zone)
            ours = list(islice(slots_after(schedule, after, "k"), len(expected)))
            if near_a_change([*ours, *expected], ZoneInfo(zone)):
                continue
            assert ours == expected, (cron, calendar, zone, after)
            compared += 1


@pytest.mark.parametrize(
    ("after", "steps", "listed", "left_out"),
    [
        ("2026-02-01T23:56", "0,23:5/25", "0,23:5,30,55", "2026-02-02T00:05"),
        ("2026-02-01T23:57", "*:0/7", "*:0,7,14,21,28,35,42,49,56", "2026-02-02T00:00"),
        ("2026-02-28T21:00", "0/5:0", "0,5,10,15,20:0", "2026-03-01T00:00"),
        ("2025-12-29T00:00", "*-*-1/9 0:0", "*-*-1,10,19,28 0:0", "2026-01-01T00:00"),
    ],
)
def test_the_page_is_right_about_systemd(
    after: str, steps: str, listed: str, left_out: str
) -> None:
    """Steps that run over the end of two units leave out a first time that their own list has."""
    base, expected = (datetime.fromisoformat(t).replace(tzinfo=UTC) for t in (after, left_out))
    found = elapses([f"{steps} UTC", f"{listed} UTC"], base)
    assert found[f"{listed} UTC"][0] == expected
    assert found[f"{steps} UTC"][0] > expected
