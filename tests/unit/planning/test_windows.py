from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Window
from reconciler.planning.windows import (
    closed_between,
    is_open,
    next_closing,
    next_opening,
    next_opening_of_all,
    open_in_all,
)

BERLIN, NEW_YORK, LORD_HOWE, APIA = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def clock(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def window(start: str, end: str, zone: str = BERLIN, days: str = "0123456") -> Window:
    return Window(
        days=frozenset(map(int, days)), start=clock(start), end=clock(end), time_zone=zone
    )


def at(text: str, zone: str = BERLIN) -> datetime:
    """Read a time; one without an offset is the zone's, the first where it comes twice."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=ZoneInfo(zone)) if moment.tzinfo is None else moment


def shown(moment: datetime | None, zone: str = BERLIN) -> str:
    return f"{moment.astimezone(ZoneInfo(zone)):%a %d %H:%M%z}" if moment else "never"


OFFICE = window("08:00", "18:00", days="01234")
NIGHT = window("22:00", "06:00", days="4")  # from Friday into Saturday


@pytest.mark.parametrize(
    ("each", "moment", "expected"),
    [
        # 2026-03-02 is a Monday.
        (OFFICE, "2026-03-02T07:59:59.999999", False),
        (OFFICE, "2026-03-02T08:00", True),
        (OFFICE, "2026-03-02T17:59:59.999999", True),
        (OFFICE, "2026-03-02T18:00", False),
        (OFFICE, "2026-03-07T12:00", False),
        (NIGHT, "2026-03-06T05:00", False),
        (NIGHT, "2026-03-06T22:00", True),
        (NIGHT, "2026-03-07T05:59", True),
        (NIGHT, "2026-03-07T06:00", False),
        (NIGHT, "2026-03-07T23:00", False),
        (window("22:00", "06:00", days="6"), "2026-03-02T05:00", True),  # Sunday into Monday
        (window("00:00", "24:00", days="0"), "2026-03-02T23:59", True),
        (window("00:00", "24:00", days="0"), "2026-03-03T00:00", False),
        (window("12:00", "12:00", days="0"), "2026-03-02T12:00", True),  # a whole day
        (window("12:00", "12:00", days="0"), "2026-03-03T11:59", True),
        (window("12:00", "12:00", days="0"), "2026-03-03T12:00", False),
        (window("08:00", "18:00", NEW_YORK), "2026-03-02T13:30", False),
        (window("08:00", "18:00", NEW_YORK), "2026-03-02T14:00", True),
    ],
)
def test_open(each: Window, moment: str, expected: object) -> None:
    """A window holds its first moment and not its last, on its days, by its zone's clocks."""
    assert is_open((each,), at(moment)) is expected


@pytest.mark.parametrize(
    ("each", "zone", "moment", "opens", "closes"),
    [
        (OFFICE, BERLIN, "2026-03-02T07:00", "Mon 02 08:00+0100", "Mon 02 07:00+0100"),
        (OFFICE, BERLIN, "2026-03-06T19:00", "Mon 09 08:00+0100", "Fri 06 19:00+0100"),
        (OFFICE, BERLIN, "2026-03-06T09:00", "Fri 06 09:00+0100", "Fri 06 18:00+0100"),
        (NIGHT, BERLIN, "2026-03-06T23:00", "Fri 06 23:00+0100", "Sat 07 06:00+0100"),
        # Berlin, 29 March 2026: 02:00 becomes 03:00.
        (window("02:30", "04:00"), BERLIN, "2026-03-29T01:00",
         "Sun 29 03:00+0200", "Sun 29 01:00+0100"),
        (window("02:00", "03:00"), BERLIN, "2026-03-29T01:00",
         "Mon 30 02:00+0200", "Sun 29 01:00+0100"),
        (window("02:00", "03:00", days="6"), BERLIN, "2026-03-29T01:00",
         "Sun 05 02:00+0200", "Sun 29 01:00+0100"),
        (window("01:00", "02:30"), BERLIN, "2026-03-29T01:00",
         "Sun 29 01:00+0100", "Sun 29 03:00+0200"),
        (window("00:00", "24:00", days="6"), BERLIN, "2026-03-29T00:00",
         "Sun 29 00:00+0100", "Mon 30 00:00+0200"),
        # Berlin, 25 October 2026: 03:00 becomes 02:00.
        (window("01:00", "02:30"), BERLIN, "2026-10-25T01:00",
         "Sun 25 01:00+0200", "Sun 25 02:30+0200"),
        (window("01:00", "02:30"), BERLIN, "2026-10-25T02:30+02:00",
         "Sun 25 02:00+0100", "Sun 25 02:30+0200"),
        (window("01:00", "02:30"), BERLIN, "2026-10-25T02:00+01:00",
         "Sun 25 02:00+0100", "Sun 25 02:30+0100"),
        (window("02:30", "03:00"), BERLIN, "2026-10-25T01:00",
         "Sun 25 02:30+0200", "Sun 25 01:00+0200"),
        (window("02:30", "03:00"), BERLIN, "2026-10-25T02:30+02:00",
         "Sun 25 02:30+0200", "Sun 25 02:00+0100"),
        (window("02:00", "04:00"), BERLIN, "2026-10-25T02:00+02:00",
         "Sun 25 02:00+0200", "Sun 25 04:00+0100"),
        # Lord Howe, half an hour: 4 October 2026 on from 02:00, 5 April back from 02:00.
        (window("02:15", "02:45", LORD_HOWE), LORD_HOWE, "2026-10-04T01:00",
         "Sun 04 02:30+1100", "Sun 04 01:00+1030"),
        (window("01:30", "02:00", LORD_HOWE), LORD_HOWE, "2026-04-05T01:30+11:00",
         "Sun 05 01:30+1100", "Sun 05 02:00+1030"),
        # Apia had no 30 December 2011, a Friday.
        (window("00:00", "24:00", APIA, "4"), APIA, "2011-12-29T12:00",
         "Fri 06 00:00+1400", "Thu 29 12:00-1000"),
        (window("22:00", "06:00", APIA, "3"), APIA, "2011-12-29T23:00",
         "Thu 29 23:00-1000", "Sat 31 00:00+1400"),
    ],
)  # fmt: skip
def test_opening_and_closing(each: Window, zone: str, moment: str, opens: str, closes: str) -> None:
    """It opens and closes by what the clocks show, also where they are changed."""
    assert shown(next_opening((each,), at(moment, zone)), zone) == opens
    assert shown(next_closing((each,), at(moment, zone)), zone) == closes


def test_without_windows_it_is_always_open() -> None:
    """No window means that nothing is held back."""
    moment = at("2026-03-02T07:00")
    assert is_open((), moment)
    assert open_in_all((), moment)
    assert open_in_all(((), ()), moment)
    assert next_opening((), moment) == moment
    assert next_opening_of_all((), moment) == moment
    assert next_closing((), moment) is None


def test_one_of_several_windows_is_enough() -> None:
    """Windows of one spec add up, without a gap where one ends as the next begins."""
    both = (window("06:00", "08:00", days="0"), OFFICE)
    assert next_opening(both, at("2026-03-01T12:00")) == at("2026-03-02T06:00")
    assert next_closing(both, at("2026-03-02T06:00")) == at("2026-03-02T18:00")
    always = (window("00:00", "12:00"), window("12:00", "00:00"))
    assert next_closing(always, at("2026-03-02T06:00")) is None


def test_windows_of_spec_and_host_must_both_be_open() -> None:
    """What the spec's windows allow is cut by the host's, each in its own zone."""
    groups = ((OFFICE,), (window("08:00", "18:00", NEW_YORK),))
    assert not open_in_all(groups, at("2026-03-02T13:59"))
    assert open_in_all(groups, at("2026-03-02T14:00"))
    assert next_opening_of_all(groups, at("2026-03-02T18:00")) == at("2026-03-03T14:00")
    # America changes its clocks on 8 March 2026, Europe three weeks later.
    assert next_opening_of_all(groups, at("2026-03-08T18:00")) == at("2026-03-09T13:00")


def test_windows_that_exclude_one_another_never_open() -> None:
    """Where the spec's and the host's have no common moment, there is none to wait for."""
    groups = ((window("08:00", "18:00", days="0"),), (window("08:00", "18:00", days="1"),))
    assert next_opening_of_all(groups, at("2026-03-02T18:00")) is None
    assert next_opening((window("08:00", "18:00", days=""),), at("2026-03-02T18:00")) is None
    # Common only while America has changed its clocks and Europe has not.
    rare = ((window("13:00", "14:00"),), (window("08:00", "09:00", NEW_YORK),))
    assert next_opening_of_all(rare, at("2026-04-01T00:00")) == at("2026-10-25T13:00")


def test_a_moment_of_any_zone_is_answered_in_utc() -> None:
    """The zone of the question does not matter, and the answer is in UTC."""
    found = next_opening((OFFICE,), at("2026-03-02T01:30", NEW_YORK))
    assert found == datetime(2026, 3, 2, 7, 0, tzinfo=UTC)
    assert found.tzinfo is UTC


minutes = st.integers(0, 1439)
some_window = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6)),
    start=minutes,
    end=st.integers(0, 1440),
    time_zone=st.sampled_from((BERLIN, NEW_YORK, LORD_HOWE, APIA, "UTC", "Asia/Kathmandu")),
)
some_moment = st.datetimes(
    min_value=datetime(2011, 12, 20),  # noqa: DTZ001 - given its zone beside it
    max_value=datetime(2026, 11, 10),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(second=0, microsecond=0))


@given(windows=st.lists(some_window, min_size=1, max_size=3), moment=some_moment)
def test_nothing_is_open_before_the_next_opening(windows: list[Window], moment: datetime) -> None:
    """The next opening is open, and nothing before it is, for two days."""
    found = next_opening(windows, moment)
    if found is not None:
        assert is_open(windows, found)
        assert found == moment or not is_open(windows, found - timedelta(microseconds=1))
    for _ in range(0, 2880, 17):
        if found is not None and moment >= found:
            break
        assert not is_open(windows, moment)
        moment += 17 * MINUTE


@given(windows=st.lists(some_window, min_size=1, max_size=3), moment=some_moment)
def test_it_is_open_until_the_next_closing(windows: list[Window], moment: datetime) -> None:
    """The next closing is closed, and everything before it is open."""
    found = next_closing(windows, moment)
    if found is not None:
        assert not is_open(windows, found)
        assert found == moment or is_open(windows, found - timedelta(microseconds=1))
    for _ in range(0, 2880, 17):
        if found is not None and moment >= found:
            break
        assert is_open(windows, moment)
        moment += 17 * MINUTE


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        (BERLIN, "2026-03-29"),
        (BERLIN, "2026-10-25"),
        (NEW_YORK, "2026-03-08"),
        (NEW_YORK, "2026-11-01"),
        (LORD_HOWE, "2026-04-05"),
        (LORD_HOWE, "2026-10-04"),
        (APIA, "2011-12-31"),
    ],
)
def test_walking_finds_every_opening_and_closing(zone: str, day: str) -> None:
    """From opening to closing and on, around a change of the clocks, misses nothing."""
    dice = random.Random(zone + day)
    begin = at(day, "UTC") - 2 * DAY
    for _ in range(10):
        windows = tuple(
            Window(
                days=frozenset(dice.sample(range(7), 5)),
                start=dice.randrange(0, 300, 15),
                end=dice.randrange(0, 300, 15),
                time_zone=zone,
            )
            for _ in range(2)
        )
        walked: list[tuple[datetime, datetime]] = []
        moment = begin
        while moment < begin + 4 * DAY:
            opening = next_opening(windows, moment)
            assert opening is not None
            moment = next_closing(windows, opening) or begin + 5 * DAY
            walked.append((opening, moment))
        for step in range(0, 4 * 1440, 5):
            moment = begin + step * MINUTE
            inside = any(opening <= moment < closing for opening, closing in walked)
            assert is_open(windows, moment) is inside, (windows, moment)


@pytest.mark.parametrize(
    ("groups", "stretches"),
    [
        ((), []),
        (((), ()), []),
        (((OFFICE,), ()), [("Mon 02 06:00", "Mon 02 08:00"), ("Mon 02 18:00", "Tue 03 06:00")]),
        (
            ((OFFICE,), (window("12:00", "13:00"), window("17:00", "20:00"))),
            [
                ("Mon 02 06:00", "Mon 02 12:00"),
                ("Mon 02 13:00", "Mon 02 17:00"),
                ("Mon 02 18:00", "Tue 03 06:00"),
            ],
        ),
        (((window("08:00", "09:00", days="5"),),), [("Mon 02 06:00", "Tue 03 06:00")]),
        (((OFFICE,), (window("19:00", "20:00"),)), [("Mon 02 06:00", "Tue 03 06:00")]),
    ],
)
def test_closed_stretches_are_found(
    groups: tuple[tuple[Window, ...], ...], stretches: list[tuple[str, str]]
) -> None:
    """In a span, all is told in which one of the groups is closed, and nothing beyond its ends."""
    found = closed_between(groups, at("2026-03-02T06:00"), at("2026-03-03T06:00"))
    assert [(shown(a)[:-5], shown(b)[:-5]) for a, b in found] == stretches
