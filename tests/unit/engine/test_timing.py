"""When the engine's schedules are due, and what becomes of missed slots."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.api.types import Operation
from reconciler.engine.timing import LATEST_START, WENT_BACK, Schedule, Timing, Turn, first, turn

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOURLY = Timing(cron="0 * * * *")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-20T{text}:00+00:00")


def schedule(
    timing: Timing = HOURLY,
    *,
    counted_from: datetime = NOW,
    upcoming: datetime | None = None,
    operation: Operation = Operation.REFRESH,
) -> Schedule:
    """Make a schedule that counts from then."""
    return Schedule(
        id="s1",
        timing=timing,
        operation=operation,
        counted_from=counted_from,
        next=upcoming or first(timing, "s1", counted_from),
    )


def test_the_first_slot_is_after_now() -> None:
    """A new schedule counts from now; one that is over has no slot."""
    assert first(HOURLY, "s1", NOW) == at("13:00")
    assert first(Timing(once=at("12:30")), "s1", NOW) == at("12:30")
    assert first(Timing(once=NOW), "s1", NOW) is None


@pytest.mark.parametrize(
    ("now", "slot", "upcoming"),
    [
        ("12:59", None, None),
        ("13:00", "13:00", "14:00"),
        ("13:20", "13:00", "14:00"),
        # After an absence the latest alone.
        ("17:10", "17:00", "18:00"),
    ],
)
def test_the_latest_slot_is_taken_and_no_other(
    now: str, slot: str | None, upcoming: str | None
) -> None:
    """What is due is one slot, however many there were; the next one is after now."""
    found = turn(schedule(), at(now))
    if slot is None:
        assert found is None
        return
    assert upcoming is not None
    assert found == Turn(slot=at(slot), counted_from=at(slot), next=at(upcoming))


@pytest.mark.parametrize(
    ("operation", "missed"),
    [
        (Operation.UPDATE, True),
        (Operation.DESTROY, True),
        (Operation.REMEDIATE_DRIFT, True),
        (Operation.PREVIEW, False),
        (Operation.REFRESH, False),
        (Operation.DETECT_DRIFT, False),
    ],
)
def test_changes_are_not_made_up_for_after_an_hour(operation: Operation, *, missed: bool) -> None:
    """A change whose slot is over for more than an hour is skipped; a look is made up for."""
    nightly = Timing(cron="0 3 * * *")
    due = schedule(nightly, counted_from=at("01:00"), operation=operation)
    late = turn(due, at("03:00") + LATEST_START + timedelta(minutes=1))
    assert late is not None
    assert late.slot == at("03:00")
    assert bool(late.missed) is missed
    soon = turn(due, at("03:00") + LATEST_START)
    assert soon is not None
    assert soon.missed == ""


def test_what_is_due_once_is_taken_once_however_late() -> None:
    """A single time that was missed is made up for, since no other comes; then there is none."""
    due = schedule(Timing(once=at("12:30")), operation=Operation.DESTROY)
    found = turn(due, NOW + timedelta(days=9))
    assert found == Turn(slot=at("12:30"), counted_from=at("12:30"), next=None)
    after = replace(due, counted_from=found.counted_from, next=None)
    assert turn(after, NOW + timedelta(days=10)) is None


def test_a_clock_that_goes_back_a_little_holds_the_schedule() -> None:
    """Until the clock is where it was, no slot is taken again."""
    due = schedule(counted_from=at("13:00"))
    assert turn(due, at("12:55")) is None
    assert turn(due, at("13:05")) is None


def test_a_clock_that_was_far_ahead_does_not_stop_a_schedule() -> None:
    """A schedule that counts from a time far off counts from now instead, and takes nothing."""
    ahead = schedule(counted_from=NOW + timedelta(days=900))
    found = turn(ahead, NOW)
    assert found == Turn(counted_from=NOW, next=at("13:00"))
    once = schedule(Timing(once=at("12:30")), counted_from=NOW + WENT_BACK * 2)
    once = replace(once, next=at("12:30"))
    assert turn(once, NOW) == Turn(counted_from=NOW, next=at("12:30"))


@settings(deadline=None)
@given(
    st.lists(st.integers(-90, 3000), min_size=1, max_size=30),
    st.sampled_from(["0 * * * *", "*/7 * * * *", "30 3 * * *", "0 0 1 * *"]),
)
def test_no_slot_is_taken_twice_and_none_before_it_is_due(minutes: list[int], text: str) -> None:
    """Whatever the clock does, each turn takes at most one slot, never a later or an old one.

    Where the clock went back far, slots may come again: those the store knows as taken.
    """
    now, taken = NOW, set[datetime]()
    found = schedule(Timing(cron=text))
    for minute in minutes:
        now += timedelta(minutes=minute)
        step = turn(found, now)
        if step is None:
            continue
        assert step.next is None or step.next > now
        if step.slot is not None:
            assert step.slot <= now
            assert step.slot > found.counted_from
            taken.add(step.slot)
        found = replace(found, counted_from=step.counted_from, next=step.next)
        assert turn(found, now) is None
