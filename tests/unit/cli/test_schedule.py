from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.holds import HoldsFiles
from reconciler.adapters.state_directory import StateDirectory
from reconciler.adapters.statusfile import StatusFiles
from reconciler.cli import options, parser, schedule
from reconciler.cli.look import Look, look
from reconciler.cli.schedule_ics import as_ics
from reconciler.cli.schedule_table import as_text
from reconciler.model import Hold, Schedule, Status, Window
from reconciler.planning.agenda import Agenda, Subject, agenda
from tests.factories import NIGHTLY, NOW, spec

WEB = """\
stack: acme/web/prod
sourceContext: {git: {repoUrl: "https://example.com/infra.git", branch: main}}
schedules:
  - {name: nightly, cron: "30 2 * * *", timeZone: Europe/Berlin, operation: refresh}
  - {name: once, at: 2026-03-29T12:00:00Z, operation: preview}
reconcile:
  destroyAfter: 2d
  windows: [{from: "02:00", to: "06:00", timeZone: Europe/Berlin}]
"""
EXPECTED = """\
UTC    THERE                          NAME  RUNS     SCHEDULE
Sat 28 Mar 2026
01:30  Sat 02:30+01:00 Europe/Berlin  web   refresh  nightly
Sun 29 Mar 2026
01:00  Sun 03:00+02:00 Europe/Berlin  web   refresh  nightly   its time is skipped: the clocks are set on
12:00                                 web   preview  once      waits for its window: Mon 30 Mar 00:00 UTC
Mon 30 Mar 2026
00:30  Mon 02:30+02:00 Europe/Berlin  web   refresh  nightly

4 runs, 1 of them after a wait for a window, until Mon 30 Mar 2026 12:00 UTC
"""  # noqa: E501 - as it is shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/web.yaml").write_text(WEB)
    return tmp_path


def run(folder: Path, *arguments: str) -> int:
    where = [str(folder / "specs"), "--data", str(folder / "state")]
    return parser.run(["schedule", *where, "--from", "2026-03-27T12:00", *arguments])


def test_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part for each day, times in UTC and in the schedule's zone, what waits and until when."""
    assert run(folder, "--for", "3d") == 0
    assert capsys.readouterr().out == EXPECTED


def test_the_page_shows_what_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table that docs/time.md shows is this one."""
    assert run(folder, "--for", "60h") == 0
    page = Path(__file__).resolve().parents[3] / "docs/time.md"
    assert f"```text\n{capsys.readouterr().out}```\n" in page.read_text()


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON says the same, exactly, and how much of it was left out."""
    assert run(folder, "--for", "3d", "--limit", "3", "-o", "json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["from"], found["until"]) == ("2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z")
    assert (found["leftOut"], found["leftOutIsExact"]) == (1, True)
    assert [run["due"] for run in found["runs"]] == [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T12:00:00Z",
    ]
    assert found["runs"][1] == {
        "name": "web",
        "stack": "acme/web/prod",
        "schedule": "nightly",
        "operation": "refresh",
        "due": "2026-03-29T01:00:00Z",
        "dueThere": "2026-03-29T03:00:00+02:00",
        "timeZone": "Europe/Berlin",
        "skippedTime": True,
        "fate": "runs",
        "starts": "2026-03-29T01:00:00Z",
        "startsThere": "2026-03-29T03:00:00+02:00",
    }
    assert (found["runs"][2]["fate"], found["runs"][2]["starts"]) == (
        "waits",
        "2026-03-30T00:00:00Z",
    )


def test_the_status_tells_when_a_stack_ends(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`destroyAfter: 2d` counts from the first deployment that the status file tells of."""
    specs = folder / "specs"
    state = StateDirectory(folder / "state").of_directory(specs)
    first = datetime(2026, 3, 27, 6, 0, tzinfo=UTC)
    status = Status(name="web", stack="acme/web/prod", first_applied=first)
    StatusFiles(specs, None, state.statuses).write(status)
    assert run(folder, "--for", "3d", "-o", "json") == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    (end,) = [run for run in runs if run["schedule"] is None]
    assert (end["operation"], end["due"], end["starts"]) == (
        "destroy",
        "2026-03-29T06:00:00Z",
        "2026-03-30T00:00:00Z",
    )


def test_the_host_counts_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The host's windows hold what the spec's own would let start; a hold by hand stops all."""
    config = folder / "config.yaml"
    config.write_text("limits: {windows: [{days: wed, timeZone: Europe/Berlin}]}\n")
    assert run(folder, "--for", "1d", "--config", str(config), "-o", "json") == 0
    (only,) = json.loads(capsys.readouterr().out)["runs"]
    assert (only["fate"], only["due"], only["starts"]) == (
        "passedOver",
        "2026-03-28T01:30:00Z",
        "2026-04-01T00:00:00Z",
    )
    state = StateDirectory(folder / "state").of_directory(folder / "specs")
    HoldsFiles(state.folder).suspend("web", Hold(by="ada", at=NOW))
    assert run(folder, "--for", "1d", "-o", "json") == 0
    (only,) = json.loads(capsys.readouterr().out)["runs"]
    assert (only["fate"], only["starts"]) == ("suspended", None)


def test_broken_files_are_told_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no spec has no schedule; that is said beside the table, not in it."""
    (folder / "specs/bad.yaml").write_text("stack: x\n")
    assert run(folder, "--for", "3d") == 0
    printed = capsys.readouterr()
    assert printed.out == EXPECTED
    assert printed.err.startswith("1 file is no valid spec")


def test_nothing_is_due(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is due it says so, and until when."""
    assert run(folder, "--for", "1h") == 0
    assert capsys.readouterr().out == "nothing is due until Fri 27 Mar 2026 13:00 UTC\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--for", "9999d"), "--for is at most 3660d"),
        (("--from", "9999-01-01"), "--from is of the years 1971 to 8999"),
        (("--from", "1969-01-01"), "--from is of the years 1971 to 8999"),
    ],
)
def test_a_span_has_bounds(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], message: str
) -> None:
    """What no calendar has, and what nobody plans, is refused in one line."""
    assert run(folder, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-03-28", datetime(2027, 3, 28, tzinfo=UTC)),
        ("2027-03-28T01:30", datetime(2027, 3, 28, 1, 30, tzinfo=UTC)),
        ("2027-03-28T01:30Z", datetime(2027, 3, 28, 1, 30, tzinfo=UTC)),
        ("2027-03-28T01:30:15+02:00", datetime(2027, 3, 27, 23, 30, 15, tzinfo=UTC)),
    ],
)
def test_a_moment(text: str, expected: datetime) -> None:
    """A date or a time is read; without an offset it is in UTC."""
    assert options.moment(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "2027-02-30", "0001-01-01T00:00+10:00"])
def test_no_moment(text: str) -> None:
    """What is no time is refused with one that is."""
    with pytest.raises(argparse.ArgumentTypeError, match="2027-03-28T01:00Z"):
        options.moment(text)


@pytest.mark.parametrize("text", ["9" * 400 + "d", "9" * 5000 + "s", "99999999999d"])
def test_a_duration_has_an_end(text: str) -> None:
    """A number that no time has is refused, not a fault."""
    with pytest.raises(argparse.ArgumentTypeError, match="no number for a time"):
        options.duration(text)


# ---------------------------------------------------------------- on a terminal


def week(*schedules: Schedule, name: str = "web", limit: int = 500, **changes: object) -> Agenda:
    of = replace(spec(name, schedules=schedules), **changes)  # type: ignore[arg-type]
    one = Subject(spec=of, status=Status(name=name))
    return agenda((one,), (), (NOW, NOW + timedelta(days=7)), limit)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals() -> None:
    """A terminal has colours and a width; a file, NO_COLOR and a dumb terminal have no colours."""
    assert look(StringIO(), {}) == Look()
    assert look(Terminal(), {"TERM": "xterm"}).colour
    assert look(Terminal(), {}).width > 0
    assert not look(Terminal(), {"NO_COLOR": "1"}).colour
    assert not look(Terminal(), {"TERM": "dumb"}).colour


def test_a_line_fits_the_width() -> None:
    """On a terminal no line is longer than it is wide; a note that has no room goes below."""
    berlin = Schedule(name="a-rather-long-name", cron="0 3 * * *", time_zone="Europe/Berlin")
    found = week(berlin, windows=(Window(start=480, end=720),), name="teams/platform/network")
    plain = as_text(found, Look(width=80))
    table = plain.rpartition("\n\n")[0].splitlines()
    assert all(len(line) <= 80 for line in table)
    assert "       waits for its window: Tue 03 Mar 09:00 there, Tue 08:00 UTC" in table
    coloured = as_text(found, Look(colour=True, width=80))
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain


def test_colours_show_what_needs_a_look() -> None:
    """A destroy is red, what does not run is faint; without colours no code is printed."""
    found = week(destroy_after=NOW + timedelta(days=1))
    assert "\x1b[31;1mdestroy\x1b[0m" in as_text(found, Look(colour=True))
    assert "\x1b" not in as_text(found, Look())
    held = week(NIGHTLY, suspended=True)
    assert "\x1b[2m03:00\x1b[0m" in as_text(held, Look(colour=True))
    assert "does not run: suspended" in as_text(held, Look())
    assert as_text(held, Look()).splitlines()[-1].startswith("7 that do not run, until")
    never = week(NIGHTLY, windows=(Window(days=frozenset(), start=0, end=60),))
    assert "does not run: its windows never open" in as_text(never, Look())


def test_what_is_passed_over_says_for_what() -> None:
    """A slot that a newer one overtakes names the opening that it would have waited for."""
    held = week(NIGHTLY, windows=(Window(days=frozenset({0}), start=0, end=1440),))
    assert (
        "passed over: a newer one is due before Mon 09 Mar 00:00 UTC"
        in as_text(held, Look()).splitlines()[2]
    )


def test_a_column_that_says_nothing_is_not_there() -> None:
    """Where all is in UTC there is no other zone to show."""
    text = as_text(week(NIGHTLY), Look())
    assert text.splitlines()[0] == "UTC    NAME  RUNS     SCHEDULE"


def test_what_is_left_out_is_said() -> None:
    """The last line counts what the limit left out, and says how to see it."""
    text = as_text(week(NIGHTLY, limit=2), Look())
    assert text.splitlines()[-1] == (
        "2 runs; 5 later ones until Mon 09 Mar 2026 12:00 UTC are left out: "
        "--limit shows more, --for less"
    )
    often = week(Schedule(name="often", cron="* * * * *"), limit=1)
    assert "1 run; 10,079 later ones" in as_text(often, Look())
    unknown = as_text(replace(often, counted=False), Look())
    assert "more than 10,079 later ones" in unknown


def test_a_name_gives_a_terminal_no_orders() -> None:
    """What a terminal would take for a command is shown as a question mark."""
    assert "\x1b" not in as_text(week(NIGHTLY, name="a\x1b[2Jb"), Look())
    assert "a?[2Jb" in as_text(week(NIGHTLY, name="a\x1b[2Jb"), Look())


# ---------------------------------------------------------------- calendars


def test_ics(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o ics` prints a calendar, with its line ends, and nothing else."""
    assert run(folder, "--for", "3d", "-o", "ics") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("BEGIN:VCALENDAR\r\n")
    assert unfolded(printed).count("BEGIN:VEVENT") == 4


def unfolded(text: str) -> list[str]:
    assert text.endswith("\r\n")
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    return text.replace("\r\n ", "").split("\r\n")[:-1]


def test_a_calendar() -> None:
    """Each run that starts is an event at its start, with an identity that stays."""
    lines = unfolded(as_ics(week(NIGHTLY, windows=(Window(start=480, end=720),))))
    assert lines[:2] == ["BEGIN:VCALENDAR", "VERSION:2.0"]
    assert lines[-1] == "END:VCALENDAR"
    assert lines.count("BEGIN:VEVENT") == lines.count("END:VEVENT") == 7
    assert "DTSTART:20260303T080000Z" in lines
    assert "SUMMARY:refresh acme/web/dev" in lines
    assert (
        "DESCRIPTION:nightly of web\\, due 2026-03-03 03:00 UTC\\; "
        "it waits for a window until then" in lines
    )
    uids = {line for line in lines if line.startswith("UID:")}
    assert len(uids) == 7
    again = agenda(
        (Subject(spec=spec("web", schedules=(NIGHTLY,)), status=Status(name="web")),),
        (),
        (NOW, NOW + timedelta(days=2)),
        9,
    )
    assert {line for line in unfolded(as_ics(again)) if line.startswith("UID:")} < uids


def test_a_calendar_holds_only_what_runs() -> None:
    """What does not run is no event; what is left out is said; odd names stay in their line."""
    assert "BEGIN:VEVENT" not in as_ics(week(NIGHTLY, suspended=True))
    assert "X-WR-CALDESC:6 more are left out" in unfolded(as_ics(week(NIGHTLY, limit=1)))
    odd = unfolded(as_ics(week(NIGHTLY, name="ä" * 60 + "\nEND:VCALENDAR;,\\")))
    assert odd.count("END:VCALENDAR") == 1
    assert any(r"\;\,\\" in line for line in odd)


def test_json_of_a_run_that_never_starts() -> None:
    """What never starts has no start."""
    body = json.loads(schedule.as_json(week(NIGHTLY, suspended=True)))
    assert (body["runs"][0]["fate"], body["runs"][0]["starts"]) == ("suspended", None)
