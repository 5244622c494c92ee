from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from reconciler import cron, cron_expression
from reconciler.cron import MAX_DUE, due_slots, next_slot, slots_after
from reconciler.model import Schedule

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
MINUTE = timedelta(minutes=1)


def schedule(cron: str, zone: str = "UTC") -> Schedule:
    return Schedule(name="n", cron=cron, time_zone=zone)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slots(cron: str, zone: str, since: str, now: str) -> list[str]:
    found = due_slots(schedule(cron, zone), at(since), at(now), "a/b/c n")
    return [f"{slot.astimezone(ZoneInfo(zone)):%d %H:%M%z}" for slot in found]


@pytest.mark.parametrize(
    ("cron", "zone", "since", "now", "expected"),
    [
        # Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
        ("30 2 * * *", BERLIN, "2026-03-28", "2026-03-30T12:00",
         ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]),
        ("0 2 * * *", BERLIN, "2026-03-28T12:00", "2026-03-29T12:00", ["29 03:00+0200"]),
        ("0,30 2 * * *", BERLIN, "2026-03-28T12:00", "2026-03-29T12:00", ["29 03:00+0200"]),
        ("0 2,3 * * *", BERLIN, "2026-03-28T12:00", "2026-03-29T12:00", ["29 03:00+0200"]),
        ("59 1 * * *", BERLIN, "2026-03-28T12:00", "2026-03-29T12:00", ["29 01:59+0100"]),
        ("0 * * * *", BERLIN, "2026-03-28T23:30", "2026-03-29T02:00",
         ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]),
        ("*/30 2 * * *", BERLIN, "2026-03-28T12:00", "2026-03-29T12:00", []),
        # Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", "2026-10-26T12:00",
         ["25 02:30+0200", "26 02:30+0100"]),
        ("0 3 * * *", BERLIN, "2026-10-24T12:00", "2026-10-25T12:00", ["25 03:00+0100"]),
        ("0 * * * *", BERLIN, "2026-10-24T23:30", "2026-10-25T02:00",
         ["25 02:00+0200", "25 02:00+0100", "25 03:00+0100"]),
        ("*/30 2 * * *", BERLIN, "2026-10-24T12:00", "2026-10-25T12:00",
         ["25 02:00+0200", "25 02:30+0200", "25 02:00+0100", "25 02:30+0100"]),
        ("30 */2 * * *", BERLIN, "2026-10-25T00:00", "2026-10-25T04:00",
         ["25 02:30+0200", "25 02:30+0100", "25 04:30+0100"]),
        # New York, 8 March and 1 November 2026.
        ("30 2 * * *", NEW_YORK, "2026-03-08", "2026-03-09T12:00",
         ["08 03:00-0400", "09 02:30-0400"]),
        ("30 1 * * *", NEW_YORK, "2026-11-01", "2026-11-02T12:00",
         ["01 01:30-0400", "02 01:30-0500"]),
        # Lord Howe moves by half an hour: 5 April 2026 back, 4 October on.
        ("45 1 * * *", LORD_HOWE, "2026-04-04T06:00", "2026-04-05T06:00", ["05 01:45+1100"]),
        ("*/15 1 * * *", LORD_HOWE, "2026-04-04T06:00", "2026-04-05T06:00",
         ["05 01:00+1100", "05 01:15+1100", "05 01:30+1100", "05 01:45+1100",
          "05 01:30+1030", "05 01:45+1030"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03T06:00", "2026-10-04T06:00", ["04 02:30+1100"]),
        ("45 2 * * *", LORD_HOWE, "2026-10-03T06:00", "2026-10-04T06:00", ["04 02:45+1100"]),
        ("0 3 * * mon-fri", "UTC", "2026-03-27", "2026-03-31",
         ["27 03:00+0000", "30 03:00+0000"]),
    ],
)  # fmt: skip
def test_clock_changes(cron: str, zone: str, since: str, now: str, expected: list[str]) -> None:
    """Debian's rule: fixed times run once, wildcards follow real time."""
    assert slots(cron, zone, since, now) == expected


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 0 1,15 * mon", "2026-03-02", "2026-03-09"),  # either the day or the weekday
        ("0 0 */2 * mon", "2026-03-02", "2026-03-09"),  # a star does not restrict: both
        ("0 0 29 2 *", "2026-03-01", "2028-02-29"),
        ("0 0 * * 7", "2026-03-02", "2026-03-08"),
        ("0 12 * jan sun", "2026-03-02", "2027-01-03T12:00"),
        ("*/20 * * * *", "2026-03-02T00:20", "2026-03-02T00:40"),
    ],
)
def test_next_slot(cron: str, after: str, expected: str) -> None:
    """The next slot is strictly later, by Vixie cron's rule of days and weekdays."""
    assert next_slot(schedule(cron), at(after), "x") == at(expected)


def test_seconds_do_not_matter() -> None:
    """A slot is due at its minute, whatever fraction of a minute it is now."""
    daily = schedule("0 3 * * *")
    just_before, just_after = at("2026-03-02T02:59:59.999999"), at("2026-03-02T03:00:00.000001")
    assert next_slot(daily, just_before, "x") == at("2026-03-02T03:00")
    assert next_slot(daily, just_after, "x") == at("2026-03-03T03:00")


def test_never() -> None:
    """A day that no month has is never due."""
    assert next_slot(schedule("0 0 30 2 *"), at("2026-03-02"), "x") is None
    assert due_slots(schedule("0 0 30 2 *"), at("2020-01-01"), at("2026-01-01"), "x") == ()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
@pytest.mark.parametrize("text", ["30 23 31 12 *", "30 23 31 12 */5", "*/30 23 31 12 *"])
def test_the_calendar_ends(text: str, zone: str) -> None:
    """At the calendar's end nothing is due any more, and nothing is beyond it."""
    each, begin = schedule(text, zone), at("9980-06-01")
    found = due_slots(each, begin, at("9999-12-31T23:59"), "x")
    assert found
    assert all(begin < slot < at("9999-01-02") for slot in found)
    assert next_slot(each, found[-1], "x") is None
    assert next_slot(each, at("9999-12-31T23:59:59.999999"), "x") is None


def test_due_is_after_since_and_up_to_now() -> None:
    """The first moment does not count, the last does."""
    hourly = schedule("0 * * * *")
    found = due_slots(hourly, at("2026-03-02T01:00"), at("2026-03-02T03:00"), "x")
    assert found == (at("2026-03-02T02:00"), at("2026-03-02T03:00"))
    assert due_slots(hourly, at("2026-03-02T03:00"), at("2026-03-02T01:00"), "x") == ()


def test_the_newest_are_kept() -> None:
    """After a long absence only as many slots come back as were asked for, the newest."""
    now = at("2026-03-02T00:00")
    found = due_slots(schedule("* * * * *"), datetime(1, 1, 1, tzinfo=UTC), now, "x")
    assert found == tuple(now - MINUTE * n for n in reversed(range(MAX_DUE)))
    yearly = due_slots(schedule("0 0 1 1 *"), at("1990-06-01"), now, "x", limit=3)
    assert yearly == (at("2024-01-01"), at("2025-01-01"), at("2026-01-01"))


def brute_force(cron: str, zone: ZoneInfo, since: datetime, now: datetime) -> list[datetime]:
    """Debian's rule, minute by minute, on the wall: slow, and nothing is shared with the code."""
    minute, hour, *_ = cron.split()
    real_time = "*" in {minute[0], hour[0]}

    def numbers(field: str, end: int) -> set[int]:
        if field.startswith("*"):
            return set(range(0, end, int(field[2:] or 1)))
        return {int(part) for part in field.split(",")}

    minutes, hours = numbers(minute, 60), numbers(hour, 24)

    def matches(wall: datetime) -> bool:
        return wall.minute in minutes and wall.hour in hours

    found: list[datetime] = []
    shown: set[datetime] = set()
    moment = since - timedelta(hours=4)
    before = moment.astimezone(zone).replace(tzinfo=None) - MINUTE
    while moment <= now:
        wall = moment.astimezone(zone).replace(tzinfo=None)
        skipped = []
        while before + MINUTE < wall:  # a gap
            before += MINUTE
            skipped.append(before)
        due = matches(wall)
        if not real_time:
            due = (due and wall not in shown) or any(map(matches, skipped))
        if due and moment > since:
            found.append(moment)
        shown.add(wall)
        before = wall
        moment += MINUTE
    return found


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, "Asia/Kolkata"])
@pytest.mark.parametrize(
    "around", ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"]
)
def test_against_brute_force(zone: str, around: str) -> None:
    """Around every change of the clocks, any expression is due when the plain rule says so."""
    dice = random.Random(f"{zone}{around}")
    for _ in range(6):
        minute = dice.choice(["*", "*/7", "0", "30", "15,45", "59"])
        hour = dice.choice(["*", "*/2", "2", "1", "3", "1,2", "2,3", "0", "23"])
        cron = f"{minute} {hour} * * *"
        since = at(around) - timedelta(minutes=dice.randint(0, 1440))
        now = since + timedelta(minutes=dice.randint(600, 2880))
        found = due_slots(schedule(cron, zone), since, now, "x", limit=10_000)
        assert list(found) == brute_force(cron, ZoneInfo(zone), since, now), (cron, since, now)


def test_slots_agree_with_next_slot() -> None:
    """Walking from slot to slot gives the slots that are due."""
    dice = random.Random(3)
    for _ in range(20):
        each = schedule(
            dice.choice(["*/17 * * * *", "30 2 * * *", "0,30 1,2 * * *", "* 2 * * *"]),
            dice.choice([BERLIN, NEW_YORK, LORD_HOWE]),
        )
        since = at(dice.choice(["2026-03-28", "2026-10-24", "2026-04-04", "2026-10-31"]))
        now = since + timedelta(days=2)
        walked, slot = [], next_slot(each, since, "x")
        while slot and slot <= now:
            walked.append(slot)
            slot = next_slot(each, slot, "x")
        assert tuple(walked) == due_slots(each, since, now, "x")


def test_what_is_remembered_is_what_is_worked_out() -> None:
    """Asked in any order, forwards and backwards, the answer is the one without a memory."""
    dice = random.Random(8)
    crons = ("*/17 * * * *", "30 2 * * *", "H H * * *", "0 0 29 2 *", "0 0 L * *")
    begin = at("2026-03-28")
    for _ in range(400):
        each = schedule(dice.choice(crons), dice.choice([BERLIN, LORD_HOWE]))
        key = f"s{dice.randint(0, 2)}"
        after = begin + timedelta(seconds=dice.randrange(3 * 86400))
        assert next_slot(each, after, key) == next(slots_after(each, after, key), None)


def test_asking_again_works_nothing_out() -> None:
    """Until its slot has come, a schedule is neither read nor followed through the calendar."""
    nightly = schedule("H 3 * * *", BERLIN)
    first = next_slot(nightly, at("2026-03-02T04:00"), "acme/web/asked-again n")
    assert first is not None
    read = cron_expression._read.cache_info()
    for seconds in range(0, 22 * 3600, 600):
        now = at("2026-03-02T04:00") + timedelta(seconds=seconds)
        assert next_slot(nightly, now, "acme/web/asked-again n") == first
        assert due_slots(nightly, at("2026-03-02T04:00"), now, "acme/web/asked-again n") == ()
    assert cron_expression._read.cache_info() == read


def test_memory_has_an_end() -> None:
    """What is remembered is bounded, however many schedules come and go."""
    assert cron._memory.cache_info().maxsize == 131_072
