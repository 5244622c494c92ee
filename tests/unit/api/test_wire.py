from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.types import UNSET_TIME
from reconciler.api.wire import (
    UNSET_TEXT,
    Reader,
    created_text,
    nanosecond_text,
    parse_nanoseconds,
    parse_time,
    pointer_text,
    step_time_text,
)

MOMENT = datetime(2022, 10, 17, 22, 12, 34, 834567, tzinfo=UTC)
NANOSECONDS = 1666044754_834567891

moments = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)


def test_each_kind_of_time_has_its_own_form() -> None:
    """Deployments tell milliseconds, steps microseconds, log lines nanoseconds."""
    assert created_text(MOMENT) == "2022-10-17 22:12:34.834"
    assert step_time_text(MOMENT) == "2022-10-17T22:12:34.834567Z"
    assert nanosecond_text(NANOSECONDS) == "2022-10-17T22:12:34.834567891Z"


def test_an_unset_time_reads_the_same_everywhere() -> None:
    """What has not happened has the API's zero time."""
    assert step_time_text(UNSET_TIME) == nanosecond_text(None) == UNSET_TEXT
    assert parse_time(UNSET_TEXT) == UNSET_TIME
    assert parse_nanoseconds(UNSET_TEXT) is None


@given(moments)
def test_times_come_back(moment: datetime) -> None:
    """A time that was written reads as the same moment, as exact as its form is."""
    assert parse_time(step_time_text(moment)) == moment
    assert timedelta(0) <= moment - parse_time(created_text(moment)) < timedelta(milliseconds=1)
    assert parse_time(step_time_text(moment)).tzinfo is UTC


@given(st.integers(0, 7_000_000_000 * 10**9))
def test_nanoseconds_come_back(nanoseconds: int) -> None:
    """A log line's time loses nothing."""
    assert parse_nanoseconds(nanosecond_text(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2022-10-17T22:12:34Z", 0),
        ("2022-10-17T22:12:34.8Z", 800000),
        ("2022-10-17T22:12:34.834567891Z", 834567),
        ("2022-10-17 22:12:34", 0),
        ("2022-10-17 22:12:34.834", 834000),
        ("2022-10-18T00:12:34+02:00", 0),
    ],
)
def test_forms_of_other_servers(text: str, microsecond: int) -> None:
    """However many digits a server writes, the moment is in UTC."""
    assert parse_time(text) == datetime(2022, 10, 17, 22, 12, 34, microsecond, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "2022-13-01T00:00:00Z", "2022-10-17T22:12:34,5Z"])
def test_what_is_no_time(text: str) -> None:
    """Another text is a ValueError, which the client turns into no usable answer."""
    with pytest.raises(ValueError, match=r".*"):
        parse_time(text)


def test_a_place_is_written_as_people_do() -> None:
    """A place in a document reads like a path in code."""
    assert pointer_text(()) == ""
    assert pointer_text(("a", 0, "b")) == "a[0].b"
    assert pointer_text((0, "a")) == "[0].a"


def test_a_reader_keeps_all_faults_and_reads_on() -> None:
    """What does not fit is absent, a null is absent, and each misfit is told once."""
    reader = Reader()
    assert reader.mapping(None, ()) == {}
    assert reader.mapping([], ("m",)) == {}
    assert reader.text(None, ()) == ""
    assert reader.text(1.5, ("t",)) == ""
    assert reader.text("a\0", ("n",)) == ""
    assert reader.texts(None, ()) == ()
    assert reader.texts(["a", True], ("l",)) == ("a", "")
    assert reader.texts({}, ("k",)) == ()
    assert reader.flag(None, (), default=True)
    assert reader.flag(1, ("f",), default=True)
    assert not reader.flag(value=False, pointer=(), default=True)
    assert [(pointer_text(f.pointer), f.message.split(";")[0]) for f in reader.faults] == [
        ("m", "is a list"),
        ("t", "is a number"),
        ("n", "holds a NUL character, which no program can be given"),
        ("l[1]", "is a boolean"),
        ("k", "is an object"),
        ("f", "is a number"),
    ]
