"""The tables of docs/time.md are run: each row is what the code does."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from reconciler.cron import due_slots
from reconciler.cron_expression import parse
from reconciler.model import Schedule, Window
from reconciler.planning.windows import next_closing, next_opening

PAGE = (Path(__file__).resolve().parents[2] / "docs/time.md").read_text()
SPAN = re.compile(r"\*\*([\w/]+)\*\*, from (\S+ \S+) to (\S+ \S+): [^\n]*\n\n((?:\|.*\n)+)")
DAY = re.compile(r"\*\*([\w/]+)\*\*, on ([\d-]+), [^\n]*\n\n((?:\|.*\n)+)")


def rows(table: str) -> list[list[str]]:
    lines = [line.strip("|").split("|") for line in table.strip().splitlines()[2:]]
    return [[cell.strip().strip("`") for cell in line] for line in lines]


def clock_changes() -> list[tuple[str, str, str, str, str]]:
    return [
        (zone, begin, end, cron, due)
        for zone, begin, end, table in SPAN.findall(PAGE)
        for cron, due, *_ in rows(table)
    ]


def test_the_page_has_its_tables() -> None:
    """Spring and autumn, half an hour, two hours, midnight, and a day that never was."""
    zones = {(zone, begin[:7]) for zone, begin, *_ in clock_changes()}
    assert len(zones) == 8
    assert len(clock_changes()) >= 28


@pytest.mark.parametrize(("name", "begin", "end", "cron", "due"), clock_changes())
def test_a_row_of_clock_changes(name: str, begin: str, end: str, cron: str, due: str) -> None:
    """What the page says to be due is due, and nothing else."""
    zone = ZoneInfo(name)
    first, last = (datetime.fromisoformat(t).replace(tzinfo=zone) for t in (begin, end))
    schedule = Schedule(name="n", cron=cron, time_zone=name)
    moment = timedelta(microseconds=1)
    found = []
    for slot in due_slots(schedule, first - moment, last - moment, "k"):
        there = slot.astimezone(zone)
        day = "" if begin[:10] == end[:10] else f"{there:%d} "
        found.append(f"{day}{there:%H:%M}{there.isoformat()[-6:]}")
    assert (", ".join(found) or "not") == due


def test_the_page_has_the_times_of_each_form() -> None:
    """The next times that the page gives for each form of cron are its next times."""
    table = PAGE.split("The next times after 2026-02-01 00:00:\n\n")[1].split("\n\n")[0]
    assert len(rows(table)) >= 10
    for cron, due in rows(table):
        walls = parse(cron, "k").walls(datetime.fromisoformat("2026-02-01"))
        assert ", ".join(f"{wall:%Y-%m-%d %H:%M}" for wall in islice(walls, 3)) == due, cron


@pytest.mark.parametrize(
    ("name", "day", "window", "opened"),
    [
        (zone, day, window, opened)
        for zone, day, table in DAY.findall(PAGE)
        for window, opened in rows(table)
    ],
)
def test_a_row_of_windows(name: str, day: str, window: str, opened: str) -> None:
    """A window that opens on the page's day is open as the page says."""
    start, end = (int(t[:2]) * 60 + int(t[3:]) for t in window.split("-"))
    zone = ZoneInfo(name)
    windows = (Window(start=start, end=end, time_zone=name),)
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
    # What is open at midnight began the day before.
    moment = next_closing(windows, midnight)
    spans = []
    while moment is not None:
        opening = next_opening(windows, moment)
        moment = next_closing(windows, opening) if opening is not None else None
        if opening is None or moment is None or opening >= midnight + timedelta(days=1):
            break
        there = [each.astimezone(zone) for each in (opening, moment)]
        spans.append(" to ".join(f"{t:%H:%M}{t.isoformat()[-6:]}" for t in there))
    assert (", ".join(spans) or "not") == opened
