"""Our slots against cronsim's, which follows Debian's cron, around changes of the clocks.

Where they differ, the difference has to be one of the kinds that docs/time.md lists, and ours
has to be what a walk from minute to minute finds with cronsim's own fields.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim

from reconciler import zones
from reconciler.cron import due_slots
from reconciler.model import Schedule

# `make test-long` asks for 10,000 pairs of an expression and a zone.
PAIRS = int(os.environ.get("CRON_PAIRS", "150"))
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)  # and on to 2030
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
# For all slots around one change cronsim needs some thousand steps, unless it goes in a circle.
MOST_STEPS = 20_000

DAYS = ("*/2", "1-15", "25-31", "L", "1,L", "15,30", "*/10", "1")
MONTHS = ("3,4,10,11", "2-11", "*/2", "mar,sep,oct,nov,apr")
WEEKDAYS = ("0", "7", "sun", "1-5", "*/2", "6,7", "sun#2", "0L", "sun#1,sun#5", "fri,sat", "7L")


@cache
def changing_zones() -> dict[str, tuple[datetime, ...]]:
    """Return the zones whose clocks are changed in these years, and when; one of those alike."""
    found: dict[object, tuple[str, tuple[datetime, ...]]] = {}
    for name in sorted(available_timezones()):
        if name.startswith(("posix/", "right/", "Etc/", "SystemV/")) or "/" not in name:
            continue
        zone = ZoneInfo(name)
        # No two changes are nearer to one another than the two around a Ramadan.
        weeks = [BEGIN + timedelta(days=7 * n) for n in range(7 * 53)]
        offsets = [zones.offset(week, zone) for week in weeks]
        changes = [
            zones.change_between(weeks[n], weeks[n + 1], zone)
            for n in range(len(weeks) - 1)
            if offsets[n] != offsets[n + 1]
        ]
        if changes:
            alike = tuple((change, zones.offset(change, zone)) for change in changes)
            found.setdefault(alike, (name, tuple(changes)))
    return dict(found.values())


def field(dice: random.Random, low: int, high: int) -> str:
    kind = dice.random()
    if kind < 0.15:
        return "*"
    if kind < 0.3:
        return f"*/{dice.choice([s for s in (2, 3, 5, 7, 10, 15, 20, 30) if s <= high])}"
    if kind < 0.75:
        values = sorted(dice.sample(range(low, high + 1), dice.choice((1, 1, 1, 2, 3))))
        return ",".join(map(str, values))
    first = dice.randint(low, high - 1)
    last = dice.randint(first + 1, high)
    return f"{first}-{last}" + dice.choice(("", "", f"/{dice.choice((2, 3, 5, 7))}"))


def expression(dice: random.Random) -> str:
    minute = field(dice, 0, 59)
    # Most clocks are changed in the first hours of a day.
    hour = dice.choice((field(dice, 0, 23), field(dice, 0, 4), str(dice.randint(0, 3))))
    day = dice.choice(("*", dice.choice(DAYS)))
    month = dice.choice(("*", "*", "*", dice.choice(MONTHS)))
    weekday = dice.choice(("*", dice.choice(WEEKDAYS)))
    return f"{minute} {hour} {day} {month} {weekday}"


def is_real_time(cron: str) -> bool:
    minute, hour, *_ = cron.split()
    return minute.startswith("*") or hour.startswith("*")


class CircleError(Exception):
    """cronsim goes in a circle."""


class Counted(CronSim):
    """cronsim itself, which here comes to an end where it would not."""

    steps = 0

    def tick(self, seconds: int = 1) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise CircleError
        super().tick(seconds)


def theirs(cron: str, zone: ZoneInfo, since: datetime, now: datetime) -> list[datetime] | None:
    """Return cronsim's slots; None where it would look for the next one for ever."""
    found = []
    try:
        for slot in Counted(cron, since.astimezone(zone)):
            if slot.astimezone(UTC) > now:
                break
            found.append(slot.astimezone(UTC))
    except CircleError:
        return None
    return found


def by_the_minute(cron: str, zone: ZoneInfo, since: datetime, now: datetime) -> list[datetime]:
    """Walk from minute to minute and apply the rule as it is written down."""
    fields = CronSim(cron, datetime(2026, 1, 1))  # noqa: DTZ001 - only its fields are used

    def named(wall: datetime) -> bool:
        return (
            wall.minute in fields.minutes
            and wall.hour in fields.hours
            and wall.month in fields.months
            and fields.match_day(wall.date())
        )

    found = []
    shown: set[datetime] = set()
    moment = since - 4 * HOUR
    before = zones.wall(moment, zone) - MINUTE
    while moment <= now:
        wall = zones.wall(moment, zone)
        due = named(wall)
        if not is_real_time(cron):
            due = due and wall not in shown
            while before + MINUTE < wall:  # what was skipped
                before += MINUTE
                due = due or named(before)
        if due and moment > since:
            found.append(moment)
        shown.add(wall)
        before = wall
        moment += MINUTE
    return found


def kind_of_difference(cron: str, zone: ZoneInfo, change: datetime) -> str:
    """Say which of the kinds that docs/time.md lists other slots are of."""
    if not is_real_time(cron):
        return "a fixed time"
    before, after = zones.offset(change - MINUTE, zone), zones.offset(change, zone)
    wall = change + before  # what the clocks would show, had they not been changed
    if (after - before) % HOUR or wall.minute:
        return "within an hour"
    if after > before and wall.hour == 0:
        return "a gap at midnight"
    return "another"


def test_slots_agree_with_cronsim() -> None:
    """Random expressions are due as Debian's cron has them, around each change of 2024 to 2030."""
    dice = random.Random(20241)
    names = sorted(changing_zones())
    assert len(names) > 25
    differences: Counter[str] = Counter()
    compared = 0
    for _ in range(PAIRS):
        cron, name = expression(dice), dice.choice(names)
        zone, schedule = ZoneInfo(name), Schedule(name="n", cron=cron, time_zone=name)
        around = timedelta(hours=5 if is_real_time(cron) else 30)
        for change in changing_zones()[name]:
            since, now = change - around, change + around
            ours = list(due_slots(schedule, since, now, "k", limit=100_000))
            compared += 1
            expected = theirs(cron, zone, since, now)
            if ours == expected:
                continue
            assert ours == by_the_minute(cron, zone, since, now), (cron, name, change)
            kind = kind_of_difference(cron, zone, change) if expected is not None else "a circle"
            differences[kind] += 1
    told = ", ".join(f"{kind}: {n}" for kind, n in sorted(differences.items())) or "none"
    print(f"{PAIRS} pairs, {compared} changes; differences: {told}")  # noqa: T201
    assert differences.keys() <= {"within an hour", "a gap at midnight", "a circle"}, told
    # They are few, and cronsim may mend them.
    assert differences.total() < compared / 50, told


def test_the_walk_from_minute_to_minute_agrees_too() -> None:
    """What judges the differences finds the same where there are none."""
    dice = random.Random(5)
    names = sorted(changing_zones())
    for _ in range(20):
        cron, name = expression(dice), dice.choice(names)
        zone, schedule = ZoneInfo(name), Schedule(name="n", cron=cron, time_zone=name)
        change = dice.choice(changing_zones()[name])
        since, now = change - 5 * HOUR, change + 5 * HOUR
        found = list(due_slots(schedule, since, now, "k", limit=100_000))
        assert found == by_the_minute(cron, zone, since, now), (cron, name, change)


@pytest.mark.parametrize(
    ("cron", "name", "around", "agree"),
    [
        ("*/15 2 * * *", "Australia/Lord_Howe", "2026-04-04T15:00", False),
        ("* 1,2,4 * * sun", "Pacific/Chatham", "2026-04-04T14:00", False),
        ("* 1 * * fri", "Africa/Cairo", "2026-04-23T22:00", False),
        ("*/15 3 * * *", "Pacific/Chatham", "2026-04-04T14:00", False),
        ("0 3-3/7 * * *", "Europe/Berlin", "2026-03-29T01:00", False),
        ("0 3 * * *", "Pacific/Apia", "2011-12-30T10:00", True),
        ("0 3 * * fri", "Pacific/Apia", "2011-12-30T10:00", True),
    ],
)
def test_the_page_is_right_about_cronsim(cron: str, name: str, around: str, *, agree: bool) -> None:
    """Each kind of difference that docs/time.md lists is one; where it says the same, it is."""
    zone = ZoneInfo(name)
    change = datetime.fromisoformat(around).replace(tzinfo=UTC)
    since, now = change - timedelta(days=1), change + timedelta(days=1)
    ours = list(due_slots(Schedule(name="n", cron=cron, time_zone=name), since, now, "k"))
    assert (ours == theirs(cron, zone, since, now)) is agree


def test_cronsim_goes_in_a_circle() -> None:
    """Where docs/time.md says that cronsim never comes to an end, it does not, and we do."""
    cron, name = "*/15 3 * * *", "Pacific/Chatham"
    zone, change = ZoneInfo(name), datetime(2026, 4, 4, 14, tzinfo=UTC)
    since, now = change - 5 * HOUR, change + 5 * HOUR
    assert theirs(cron, zone, since, now) is None
    ours = due_slots(Schedule(name="n", cron=cron, time_zone=name), since, now, "k")
    shown = [f"{slot.astimezone(zone):%H:%M %z}" for slot in ours]
    assert shown == [
        *("03:00 +1345", "03:15 +1345", "03:30 +1345"),
        *("03:00 +1245", "03:15 +1245", "03:30 +1245", "03:45 +1245"),
    ]
