from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cron_expression import check, parse

KEYS = [f"acme/web/s{n} nightly" for n in range(3000)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def walls(cron: str, after: str, count: int = 3, key: str = "k") -> list[str]:
    found = islice(parse(cron, key).walls(at(after)), count)
    return [f"{wall:%Y-%m-%d %H:%M}" for wall in found]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("* * * * *", "2026-03-02T23:58:30",
         ["2026-03-02 23:59", "2026-03-03 00:00", "2026-03-03 00:01"]),
        ("5/15 3 * * *", "2026-03-02T03:05",
         ["2026-03-02 03:20", "2026-03-02 03:35", "2026-03-02 03:50"]),
        ("59/15 * * * *", "2026-03-02T00:00",
         ["2026-03-02 00:59", "2026-03-02 01:59", "2026-03-02 02:59"]),
        ("5-5 * * * *", "2026-03-02T00:00",
         ["2026-03-02 00:05", "2026-03-02 01:05", "2026-03-02 02:05"]),
        ("0 0 1,15 * mon", "2026-03-02T00:00",  # one of both is enough
         ["2026-03-09 00:00", "2026-03-15 00:00", "2026-03-16 00:00"]),
        ("0 0 */2 * mon", "2026-03-02T00:00",  # a star does not restrict: both
         ["2026-03-09 00:00", "2026-03-23 00:00", "2026-04-13 00:00"]),
        ("0 0 29 2 *", "2026-03-01T00:00",
         ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("0 0 29 2 */7", "2026-03-01T00:00",  # 2100 has none
         ["2032-02-29 00:00", "2060-02-29 00:00", "2088-02-29 00:00"]),
        ("0 0 * * 7", "2026-03-02T00:00",
         ["2026-03-08 00:00", "2026-03-15 00:00", "2026-03-22 00:00"]),
        ("0 0 * * 5-7", "2026-03-02T00:00",
         ["2026-03-06 00:00", "2026-03-07 00:00", "2026-03-08 00:00"]),
        ("0 12 * jan sun", "2026-12-20T00:00",
         ["2027-01-03 12:00", "2027-01-10 12:00", "2027-01-17 12:00"]),
        ("0 0 31 * *", "2026-01-31T00:00",
         ["2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00"]),
        ("0 0 L * *", "2026-02-01T00:00",
         ["2026-02-28 00:00", "2026-03-31 00:00", "2026-04-30 00:00"]),
        ("0 0 l 2 *", "2026-03-01T00:00",
         ["2027-02-28 00:00", "2028-02-29 00:00", "2029-02-28 00:00"]),
        ("0 0 L-3 * *", "2026-02-01T00:00",
         ["2026-02-25 00:00", "2026-03-28 00:00", "2026-04-27 00:00"]),
        ("0 0 L-30 * *", "2026-02-01T00:00",  # the first of those that have 31
         ["2026-03-01 00:00", "2026-05-01 00:00", "2026-07-01 00:00"]),
        ("0 0 1,L * *", "2026-02-01T00:00",
         ["2026-02-28 00:00", "2026-03-01 00:00", "2026-03-31 00:00"]),
        ("0 0 L * fri", "2026-02-25T00:00",  # one of both is enough
         ["2026-02-27 00:00", "2026-02-28 00:00", "2026-03-06 00:00"]),
        ("0 0 * * friL", "2026-02-01T00:00",
         ["2026-02-27 00:00", "2026-03-27 00:00", "2026-04-24 00:00"]),
        ("0 0 * * 5L", "2026-02-01T00:00",
         ["2026-02-27 00:00", "2026-03-27 00:00", "2026-04-24 00:00"]),
        ("0 0 * * 7L", "2026-02-01T00:00",
         ["2026-02-22 00:00", "2026-03-29 00:00", "2026-04-26 00:00"]),
        ("0 0 * * mon#2", "2026-02-01T00:00",
         ["2026-02-09 00:00", "2026-03-09 00:00", "2026-04-13 00:00"]),
        ("0 0 * * 0#5", "2026-02-01T00:00",
         ["2026-03-29 00:00", "2026-05-31 00:00", "2026-08-30 00:00"]),
        ("0 0 * * mon#1,fri#1,wed", "2026-02-01T00:00",
         ["2026-02-02 00:00", "2026-02-04 00:00", "2026-02-06 00:00"]),
        ("0 0 15 * mon#2", "2026-02-01T00:00",  # one of both is enough
         ["2026-02-09 00:00", "2026-02-15 00:00", "2026-03-09 00:00"]),
        ("0 0 */2 * mon#2", "2026-02-01T00:00",  # both
         ["2026-02-09 00:00", "2026-03-09 00:00", "2026-04-13 00:00"]),
    ],
)  # fmt: skip
def test_times_on_the_wall(cron: str, after: str, expected: list[str]) -> None:
    """Each form names the times it is known for, strictly after the one asked about."""
    assert walls(cron, after) == expected
    assert all(parse(cron, "k").names(at(text)) for text in expected)


def test_what_is_not_named() -> None:
    """A time is named to the minute."""
    daily = parse("0 3 * * *", "k")
    assert daily.names(at("2026-03-02T03:00"))
    for other in ("2026-03-02T03:00:01", "2026-03-02T03:01", "2026-03-02T04:00"):
        assert not daily.names(at(other))
    assert not parse("0 3 3 4 *", "k").names(at("2026-03-03T03:00"))
    assert not parse("0 3 3 4 *", "k").names(at("2026-04-02T03:00"))


def test_the_calendar_ends() -> None:
    """Where the calendar ends, so do the times."""
    assert walls("0 0 1 1 *", "9996-06-01T00:00") == ["9997-01-01 00:00", "9998-01-01 00:00"]


# ---------------------------------------------------------------- H


@pytest.mark.parametrize(
    ("cron", "low", "high"),
    [
        ("H 3 * * *", 0, 59),
        ("H(10-19) 3 * * *", 10, 19),
        ("0 H * * *", 0, 23),
        ("0 0 H * *", 1, 28),
        ("0 0 h(5-7) * *", 5, 7),
        ("0 0 1 H *", 1, 12),
        ("0 0 * * H", 0, 6),
        ("0 0 * * H(mon-fri)", 1, 5),
        ("0 0 * * H(1-7)", 0, 6),
    ],
)
def test_a_hash_uses_the_whole_range(cron: str, low: int, high: int) -> None:
    """Over many keys each value of the range is chosen, about as often, and no other."""
    found: Counter[int] = Counter()
    place = next(i for i, part in enumerate(cron.split()) if part[0] in "Hh")
    for key in KEYS:
        each = parse(cron, key)
        fields = (each.minutes, each.hours, each.days, each.months, each.weekdays)
        (value,) = tuple(fields[place])
        found[value] += 1
    assert set(found) == set(range(low, high + 1))
    fair = len(KEYS) / (high - low + 1)
    assert all(fair / 2 < often < fair * 2 for often in found.values()), found


def test_minute_and_hour_are_chosen_apart() -> None:
    """All times of a day come up, not only those whose minute goes with their hour."""
    found = {(e.hours, e.minutes) for e in (parse("H H * * *", key) for key in KEYS)}
    # Of 1440 boxes 3000 balls leave 180 empty.
    assert len(found) > 1150


def test_a_hash_stays() -> None:
    """A key chooses the same for ever, also in a later version: it is a promise to people."""
    assert parse("H H H H H", "acme/web/dev nightly") == parse("H H H H H", "acme/web/dev nightly")
    assert walls("H H * * *", "2026-03-02T00:00", 1, "acme/web/dev nightly") == ["2026-03-02 16:18"]
    assert walls("H H H * *", "2026-03-02T00:00", 1, "acme/web/prod n") == ["2026-03-22 05:49"]


@pytest.mark.parametrize(
    ("cron", "step", "high"), [("H/15 * * * *", 15, 59), ("H(0-29)/10 * * * *", 10, 29)]
)
def test_a_hashed_step_keeps_its_pace(cron: str, step: int, high: int) -> None:
    """A hash chooses the first; the others follow at the step, up to the range's end."""
    firsts = set()
    for key in KEYS[:300]:
        minutes = parse(cron, key).minutes
        firsts.add(minutes[0])
        assert minutes == tuple(range(minutes[0], high + 1, step))
    assert firsts == set(range(step))


def test_a_hash_in_a_list() -> None:
    """`H` may stand in a list, beside numbers and twice."""
    for key in KEYS[:100]:
        assert 30 in parse("H(0-29),30 * * * *", key).minutes
        one, two = parse("H(0-29),H(30-59) * * * *", key).minutes
        assert two - one == 30


def test_a_hashed_day_comes_every_month() -> None:
    """`H` for a day is one that every month has."""
    for key in KEYS[:100]:
        assert len([w for w in walls("0 0 H * *", "2026-01-01", 12, key) if w < "2027-01-02"]) == 12
        assert min(len(parse("0 0 H/10 * *", key).days_of(2026, m)) for m in range(1, 13)) >= 2


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "*/5 * * * *",
        "0 3 * * mon-fri",
        "H H(0-5) * * *",
        "H/15 * * * *",
        "0 0 1,15 * *",
        "5-55/10 * * JAN-MAR,dec 0,7",
        "0 0 29 2 *",
        "H(0-29)/10 * * * *",
        "0 0 H * H",
        "0 0 H H *",
        "0 0 L H *",
        "0 0 31 1,3 *",
        "0 0 L-3,15 * FRI#2,MonL",
        "\t0  0 * * *",
    ],
)
def test_good_expressions(cron: str) -> None:
    """What crons usually read is read."""
    assert check(cron) == ""
    assert len(walls(cron, "2026-03-02", 1)) == 1


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("", "has 0 fields"),
        ("@reboot", "shorthands are not read; write five fields"),
        ("@yearly", 'write five fields: "H H H H *"'),
        ("0 24 * * *", "the hour field '24': 24 is not between 0 and 23"),
        ("0 0 0 * *", "0 is not between 1 and 31"),
        ("0 0 * 13 *", "13 is not between 1 and 12"),
        ("0 0 * * 8", "8 is not between 0 and 7"),
        ("R * * * *", "'R' is no number"),
        ("? * * * *", "'?' is no number"),
        ("0 0 * * fri-sun", "the range fri-sun runs backwards"),
        ("1,,2 * * * *", "'' is no number"),
        ("*/99 * * * *", "the step 99 is not between 1 and 59"),
        ("*/0 * * * *", "the step 0 is not between 1 and 59"),
        ("H(5-5) * * * *", "holds one value"),
        ("H(9-5) * * * *", "the range H(9-5) runs backwards"),
        ("H(50-70) * * * *", "70 is not between 0 and 59"),
        ("H(mo-fr) * * * *", "is no number"),
        ("x" * 900 + " * * * *", "is no number"),
        ("9" * 900 + " * * * *", "is no number"),
        ("mon * * * *", "'mon' is no number"),
        ("L * * * *", "'L' is no number"),
        ("0 0 L-0 * *", "L-0 is not between L-1 and L-30"),
        ("0 0 L-31 * *", "L-31 is not between L-1 and L-30"),
        ("0 0 LW * *", "'LW' is no number, range (1-5), list (1,2), step (*/5), name, 'L', 'L-3'"),
        ("0 0 L/2 * *", "'L/2' is no number"),
        ("0 0 * * L", "'L' is no number, range (1-5), list (1,2), step (*/5), name, 'mon#2'"),
        ("0 0 * * friL-1", "'friL-1' is no number"),
        ("0 0 * * 8L", "8 is not between 0 and 7"),
        ("0 0 * * funL", "'fun' is no number or name (sun, mon,"),
        ("0 0 * * mon#0", "mon#0: a month has at most five of a weekday; write #1 to #5"),
        ("0 0 * * mon#6", "mon#6: a month has at most five"),
        ("0 0 * * mon-fri#2", "'mon-fri#2' is no number"),
        ("0 0 5#2 * *", "'5#2' is no number"),
        ("0 0 30 2 *", "names a day that no month has"),
        ("0 0 31 4,6 *", "names a day that no month has"),
        ("0 0 L-29 2 *", "names a day that no month has"),
        ("0 0 H(1-31) * *", "H(1-31) may choose a day that some months lack; end its range at 28"),
        ("0 0 31 H *", "a hashed month may lack the day 31; write a month, or another day"),
        ("0 0 29-31 H *", "a hashed month may lack the day 29"),
        ("0 0 L-28 H *", "a hashed month may lack L-28"),
    ],
)
def test_bad_expressions(cron: str, expected: str) -> None:
    """A refusal names the field and the part of it, in one short line."""
    assert expected in check(cron)
    assert len(check(cron)) < 250


def test_a_wrong_text_is_not_read() -> None:
    """Whoever did not check hears of it."""
    with pytest.raises(ValueError, match="has 2 fields"):
        parse("0 0", "k")


def test_an_expression_has_an_end() -> None:
    """A line of any length is refused at once, and not remembered; sixty minutes are fine."""
    minutes = ",".join(map(str, range(60)))
    assert check(f"{minutes} * * * *") == ""
    assert "1000 are the most" in check(f"{minutes * 1000} * * * *")


number = st.integers(0, 62).map(str)
atom = st.one_of(
    number,
    st.sampled_from(
        ["*", "H", "h", "L", "L-3", "mon", "jan", "friL", "mon#2", "5#5", "?", "W", ""]
    ),
    st.tuples(number, number).map("-".join),
    st.tuples(number, number).map(lambda two: f"H({two[0]}-{two[1]})"),
)
item = st.one_of(atom, st.tuples(atom, number).map("/".join))
a_field = st.lists(item, min_size=1, max_size=3).map(",".join)
an_expression = st.lists(a_field, min_size=4, max_size=6).map(" ".join)


@given(text=st.one_of(an_expression, st.text()), keys=st.lists(st.text(), min_size=3, max_size=3))
def test_what_is_accepted_is_due(text: str, keys: list[str]) -> None:
    """Any text is refused in one short line, or is due sooner or later, whatever `H` chooses."""
    wrong = check(text)
    if wrong:
        assert len(wrong) < 250
        assert wrong.isprintable() or not text.isprintable()
        return
    for key in keys:
        each = parse(text, key)
        found = next(each.walls(at("2026-03-02T12:00")), None)
        assert found is not None
        assert found > at("2026-03-02T12:00")
        assert each.names(found)
