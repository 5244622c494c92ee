from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reconciler.cron import MAX_DUE
from reconciler.model import Schedule
from reconciler.planning.slots import due, following, slot_key
from tests.factories import NIGHTLY, NOW, spec

ONCE = Schedule(name="once", at=NOW)
SECOND = timedelta(seconds=1)


def test_a_time_is_due_once() -> None:
    """What is due at a time is due from that moment on, and never after it was taken."""
    assert due(ONCE, NOW - SECOND, NOW - SECOND, "k") == ()
    assert due(ONCE, NOW - SECOND, NOW, "k") == (NOW,)
    assert due(ONCE, NOW - SECOND, NOW + SECOND, "k") == (NOW,)
    assert due(ONCE, NOW, NOW + SECOND, "k") == ()


def test_a_time_comes_once() -> None:
    """Before it comes it is the following one; from then on there is none."""
    assert following(ONCE, NOW - SECOND, "k") == NOW
    assert following(ONCE, NOW, "k") is None


def test_a_time_of_any_zone_is_given_in_utc() -> None:
    """A time with an offset of its own is the same slot, written in UTC."""
    there = Schedule(name="once", at=datetime.fromisoformat("2026-03-02T13:00+01:00"))
    assert due(there, NOW - SECOND, NOW, "k") == (NOW,)
    found = following(there, NOW - SECOND, "k")
    assert found is not None
    assert found.tzinfo is UTC


def test_a_cron_is_due_again_and_again() -> None:
    """A cron's slots are those of its five fields."""
    found = due(NIGHTLY, NOW - timedelta(days=2), NOW, "k")
    assert found == (NOW.replace(day=1, hour=3), NOW.replace(hour=3))
    assert following(NIGHTLY, NOW, "k") == NOW.replace(day=3, hour=3)


def test_a_key_is_of_stack_and_schedule() -> None:
    """Two schedules of a stack, and one name on two stacks, are spread apart."""
    assert slot_key(spec(), NIGHTLY) == "acme/web/dev nightly"


some_schedule = st.one_of(
    st.builds(
        Schedule,
        name=st.just("n"),
        at=st.datetimes(
            min_value=datetime(2026, 1, 1),  # noqa: DTZ001 - given its zone beside it
            max_value=datetime(2027, 1, 1),  # noqa: DTZ001
            timezones=st.just(UTC),
        ),
    ),
    st.builds(
        Schedule,
        name=st.just("n"),
        cron=st.sampled_from(
            ("*/20 * * * *", "30 2 * * *", "0,30 1,2 * * *", "H 3 * * mon-fri", "0 0 1 * *")
        ),
        time_zone=st.sampled_from(("UTC", "Europe/Berlin", "Australia/Lord_Howe")),
    ),
)
some_moment = st.datetimes(
    min_value=datetime(2026, 3, 25),  # noqa: DTZ001 - given its zone beside it
    max_value=datetime(2026, 4, 10),  # noqa: DTZ001
    timezones=st.just(UTC),
)
a_while = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=5))


@given(schedule=some_schedule, since=some_moment, first=a_while, second=a_while)
def test_a_slot_is_given_once(
    schedule: Schedule, since: datetime, first: timedelta, second: timedelta
) -> None:
    """Looking twice gives what one look gives: no slot twice, none lost, in order, after since."""
    middle, end = since + first, since + first + second
    whole = due(schedule, since, end, "k")
    assert due(schedule, since, middle, "k") + due(schedule, middle, end, "k") == whole
    assert list(whole) == sorted(set(whole))
    assert all(since < slot <= end for slot in whole)


@given(schedule=some_schedule, since=some_moment, length=a_while)
def test_the_following_slot_is_the_first_that_is_due(
    schedule: Schedule, since: datetime, length: timedelta
) -> None:
    """Nothing is due before the following slot, and that is the first."""
    upcoming = following(schedule, since, "k")
    found = due(schedule, since, since + length, "k")
    if upcoming is not None and upcoming <= since + length:
        assert found[0] == upcoming
    else:
        assert found == ()


@given(
    schedule=some_schedule,
    since=some_moment,
    jumps=st.lists(st.timedeltas(-timedelta(days=3), timedelta(days=3)), max_size=12),
)
def test_a_clock_that_jumps_takes_no_slot_twice(
    schedule: Schedule, since: datetime, jumps: list[timedelta]
) -> None:
    """Whatever the clock says from look to look, slots are taken in order, and each once."""
    now, last = since, since
    taken: list[datetime] = []
    for jump in jumps:
        now += jump
        found = due(schedule, last, now, "k")
        taken += found
        last = max(last, *found) if found else last
    assert taken == sorted(set(taken))
    assert all(since < slot for slot in taken)
    # And none is lost: what was taken is all that was due up to the latest the clock has said,
    # as far back as slots are given at all.
    assert tuple(taken)[-MAX_DUE:] == due(schedule, since, last, "k")


# ---------------------------------------------------------------- what others got wrong


def test_a_clock_set_on_by_an_hour() -> None:
    """robfig/cron 26 ran 720 times: what was due meanwhile is one list, and none comes again."""
    often = Schedule(name="often", cron="* * * * *")
    hour = timedelta(hours=1)
    found = due(often, NOW, NOW + hour, "k")
    assert len(found) == 60
    assert due(often, found[-1], NOW + hour, "k") == ()


def test_an_edited_schedule_counts_from_the_edit() -> None:
    """Kubernetes 63371 ran a job at once when its time was moved to one that had passed."""
    edited = Schedule(name="nightly", cron="0 11 * * *")  # an hour before now
    assert due(edited, NOW, NOW + SECOND, "k") == ()
    assert following(edited, NOW, "k") == NOW + timedelta(hours=23)


def test_a_nightly_run_in_the_repeated_hour() -> None:
    """Kubernetes 121594 ran a nightly job twice when the clocks were set back."""
    nightly = Schedule(name="n", cron="30 1 * * *", time_zone="America/New_York")
    day = datetime(2023, 11, 5, 4, 0, tzinfo=UTC)
    assert due(nightly, day, day + timedelta(days=1), "k") == (day + timedelta(minutes=90),)


def test_a_nightly_run_in_the_skipped_hour() -> None:
    """argo-workflows 8137 skipped a job of 2 o'clock when the clocks were set on."""
    nightly = Schedule(name="n", cron="0 2 * * *", time_zone="America/New_York")
    day = datetime(2026, 3, 8, 5, 0, tzinfo=UTC)
    assert due(nightly, day, day + timedelta(hours=23), "k") == (day + timedelta(hours=2),)


def test_a_long_absence() -> None:
    """Kubernetes stops a job for ever once it has missed more than 100 starts."""
    often = Schedule(name="often", cron="* * * * *")
    found = due(often, NOW - timedelta(days=3650), NOW, "k")
    assert (len(found), found[-1]) == (1000, NOW)
    assert following(often, NOW, "k") == NOW + timedelta(minutes=1)
