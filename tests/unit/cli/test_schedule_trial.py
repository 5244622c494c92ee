"""`schedule --cron`: an expression is tried before it is in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.cli import parser


def tried(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = parser.run(["schedule", "--from", "2026-03-27", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_the_next_times_are_told_here_and_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a line, in UTC and by the zone's clocks, and what clocks skip is told."""
    zone = ("--time-zone", "Europe/Berlin")
    code, out, _ = tried(capsys, "--cron", "30 2 * * *", *zone, "--limit", "3")
    assert code == 0
    assert out.splitlines() == [
        "Fri 27 Mar 2026 01:30 UTC  Fri 02:30+01:00 there",
        "Sat 28 Mar 2026 01:30 UTC  Sat 02:30+01:00 there",
        "Sun 29 Mar 2026 01:00 UTC  Sun 03:00+02:00 there  its time is skipped: the clocks are set on",  # noqa: E501 - as it is shown
    ]
    page = Path(__file__).resolve().parents[3] / "docs/time.md"
    assert f"```text\n{out}```\n" in page.read_text()


def test_ten_are_shown_however_far_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--for` there is no end: a leap day's times are years apart."""
    _, out, _ = tried(capsys, "--cron", "0 0 29 2 *")
    assert [line[:15] for line in out.splitlines()][:2] == ["Tue 29 Feb 2028", "Sun 29 Feb 2032"]
    assert len(out.splitlines()) == 10
    assert (
        tried(capsys, "--cron", "0 0 29 2 *", "--for", "30d")[1] == "it is not due in that time\n"
    )


def test_what_lies_ahead_says_how_far(capsys: pytest.CaptureFixture[str]) -> None:
    """From now on each time is told by how far away it is; `H` is told for what it is."""
    assert parser.run(["schedule", "--cron", "H * * * *", "--limit", "2"]) == 0
    first, *times = capsys.readouterr().out.splitlines()
    assert first.startswith("H is chosen for each stack and schedule")
    assert all(" UTC  in " in line for line in times)


@pytest.mark.parametrize(
    ("cron", "chosen"),
    [("0 3 * MAR THU", False), ("0 H * * *", True), ("H(0-9) 1 * * *", True), ("0 3 * * *", False)],
)
def test_only_what_is_chosen_by_names_is_said_to_be(
    cron: str, *, chosen: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A month or a weekday with an H in its name is none."""
    assert ("H is chosen for each stack" in tried(capsys, "--cron", cron)[1]) == chosen


def test_a_zone_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The schedules in files have their own; nothing that is given is passed over."""
    assert parser.run(["schedule", "deployments.d", "--time-zone", "Europe/Berlin"]) == 2
    assert "--time-zone goes with --cron" in capsys.readouterr().err


def test_programs_get_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has each moment, in UTC and there."""
    zone = ("--time-zone", "Europe/Berlin")
    _, out, _ = tried(capsys, "--cron", "30 2 29 3 *", *zone, "--limit", "1", "-o", "json")
    assert json.loads(out) == {
        "cron": "30 2 29 3 *",
        "timeZone": "Europe/Berlin",
        "times": [
            {
                "due": "2026-03-29T01:00:00Z",
                "dueThere": "2026-03-29T03:00:00+02:00",
                "skippedTime": True,
            }
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--cron", "61 2 * * *"), "--cron '61 2 * * *' "),
        (("--cron", "0 0 30 2 *"), "names a day that no month has"),
        (("--cron", "0 0 * * *", "--time-zone", "Europe/Berln"), "did you mean 'Europe/Berlin'?"),
        (("--cron", "0 0 * * *", "-o", "ics"), "-o ics is for schedules that are in files"),
    ],
)
def test_a_mistake_is_told(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the expression or the zone is said as a file's mistake is."""
    code, out, err = tried(capsys, *arguments)
    assert (code, out) == (2, "")
    assert told in err
