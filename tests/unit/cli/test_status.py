"""`status` over real files: what it shows, in which order, on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import pytest

from reconciler.adapters.holds import HoldsFiles
from reconciler.adapters.spec_walk import Walk
from reconciler.adapters.state_directory import StateDirectory
from reconciler.adapters.status_glance import Glimpse, Shown
from reconciler.adapters.statusfile import StatusFiles
from reconciler.cli import last_look, logs, parser, table, wiring
from reconciler.cli.live import LiveTable
from reconciler.cli.look import Look, cut
from reconciler.cli.rows import Row, Rows
from reconciler.cli.screen import Screen
from reconciler.clock import SystemClock
from reconciler.model import (
    Catalog,
    Hold,
    Reason,
    ReasonCode,
    Removal,
    ScheduleStatus,
    State,
    Status,
)
from tests.factories import COMMIT, NOW, ended, run
from tests.fakes.terminal import Screenful, TerminalRun
from tests.fakes.world import SimClock
from tests.waiting import eventually

SPEC = (
    "stack: acme/{name}/dev\n"
    "sourceContext: {{git: {{repoUrl: https://x.example/i.git, branch: main}}}}\n"
)


class Desk:
    """A directory of specs with statuses."""

    def __init__(self, root: Path) -> None:
        self.specs, self.data = root / "specs", root / "state"
        self.specs.mkdir()
        self.state = StateDirectory(self.data).of_directory(self.specs)
        self.statuses = StatusFiles(self.specs, None, self.state.statuses)

    def stands(
        self, name: str, state: State, code: ReasonCode, message: str = "", *, file: bool = True
    ) -> None:
        """Write a spec, and how it stands."""
        if file:
            (self.specs / f"{name}.yaml").write_text(SPEC.format(name=name))
        self.says(
            Status(
                name=name,
                stack=f"acme/{name}/dev",
                state=state,
                reason=Reason(code, message or f"it is {code}"),
                latest=ended(version=3),
            )
        )

    def says(self, status: Status) -> None:
        known = self.statuses.read(status.name)
        self.statuses.write(replace(status, generation=known.generation))

    def command(self, *more: str) -> list[str]:
        return ["status", str(self.specs), "--data", str(self.data), *more]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def shown(desk: Desk, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert parser.run(desk.command("-o", "json")) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def fleet(desk: Desk) -> None:
    desk.stands("a-ready", State.READY, ReasonCode.UP_TO_DATE)
    desk.stands("b-held", State.SUSPENDED, ReasonCode.SUSPENDED, "reconcile.suspend is true")
    desk.stands("c-runs", State.PROGRESSING, ReasonCode.RUNNING)
    desk.stands("d-failed", State.FAILED, ReasonCode.FAILED)
    desk.stands("e-asks", State.WAITING, ReasonCode.APPROVAL)
    desk.stands("f-waits", State.WAITING, ReasonCode.WINDOW)
    desk.stands("g-stalled", State.STALLED, ReasonCode.CANCELED)


def test_what_needs_a_person_comes_first(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Then what failed, what is under way and what waits; what is as it should be is last."""
    fleet(desk)
    assert parser.run(desk.command()) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "STACK", "STATE", "VERSION", "COMMIT", "NEXT", "RUN", "WHY"]
    order = ["e-asks", "g-stalled", "d-failed", "c-runs", "f-waits", "a-ready", "b-held"]
    assert [line.split()[0] for line in lines] == order
    assert "\x1b" not in "".join(lines)
    assert parser.run(desk.command("--exit-code")) == 1


def test_some_are_told_of_by_name(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names stand after the directory, or alone where it is the usual one."""
    fleet(desk)
    directory, *more = desk.command()[1:]
    assert parser.run(["status", directory, "d-failed", "a-ready", *more]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["d-failed", "a-ready"]
    assert parser.run(["status", directory, "a-ready", *more, "--exit-code"]) == 0
    assert parser.run(["status", directory, "a-redy", *more]) == 2
    assert "did you mean a-ready?" in capsys.readouterr().err
    usual = desk.specs.with_name("deployments.d")
    desk.specs.rename(usual)
    monkeypatch.chdir(usual.parent)
    for named in (["b-held"], ["deployments.d", "b-held"]):
        assert parser.run(["status", *named, "--data", str(desk.data), "-o", "json"]) == 0
        assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["b-held"]
    usual.rename(desk.specs)
    assert parser.run(["status", "b-held", "--data", str(desk.data)]) == 2
    assert "b-held is no directory" in capsys.readouterr().err


def test_json_has_every_field_by_name(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The objects are sorted by name, and say what programs may count on."""
    fleet(desk)
    found = shown(desk, capsys)
    assert [row["name"][0] for row in found] == list("abcdefg")
    assert found[0] == {
        "name": "a-ready",
        "stack": "acme/a-ready/dev",
        "state": "Ready",
        "reason": "UpToDate",
        "message": "it is UpToDate",
        "operation": "update",
        "deployment": {"id": "id-1", "version": 3, "status": "succeeded"},
        "commit": COMMIT,
        "nextRun": None,
        "runningSince": None,
        "usualSeconds": None,
        "reconciledBy": None,
    }


def test_who_reconciles_is_told_and_when_it_was_looked_at(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON names who does; for people there is a line where nobody does, with the last look."""
    desk.stands("web", State.READY, ReasonCode.UP_TO_DATE)
    unknown = f"no run of this directory is known in {desk.data} (--data)"
    assert last_look.nobody(desk.state, NOW) == unknown
    with StateDirectory(desk.data).lock(desk.specs, SystemClock()):
        assert shown(desk, capsys)[0]["reconciledBy"].startswith(f"process {os.getpid()}, since ")
        last_look.note(desk.state, NOW)
        assert last_look.nobody(desk.state, NOW) == ""
    assert last_look.nobody(desk.state, NOW + timedelta(minutes=9)) == (
        "nobody reconciles this directory now; last looked at 2026-03-02 12:00 UTC, 9 minutes ago"
    )
    assert shown(desk, capsys)[0]["reconciledBy"] is None


def test_a_run_notes_that_it_has_looked(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """After a run the last look is its own; a command that only looks leaves it as it is."""
    api = ("--api-url", "http://127.0.0.1:9", "--token-file", str(desk.data.with_name("token")))
    desk.data.with_name("token").write_text("a-token-of-nobody")
    begun = SystemClock().now() - timedelta(seconds=1)
    where = (str(desk.specs), "--data", str(desk.data))
    assert parser.run(["run", "--once", *where, *api]) == 0
    seen = last_look.last_look(desk.state)
    assert seen is not None
    assert seen >= begun
    last_look.note(desk.state, NOW)
    assert parser.run(["plan", *where, *api]) == 0
    assert last_look.last_look(desk.state) == NOW
    capsys.readouterr()


def test_what_runs_is_told_for_how_long(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """For how long it has run and what is usual stands before its reason; JSON has both apart."""
    desk.stands("web", State.PROGRESSING, ReasonCode.RUNNING, "update runs as version 4")
    now = SystemClock().now()
    before = ended(version=3, started=NOW - timedelta(hours=1))
    begun = run(version=4, started=now - timedelta(minutes=10))
    known = desk.statuses.read("web")
    desk.says(replace(known, last=before, latest=before, run=begun))
    assert parser.run(desk.command()) == 0
    told = "for 10 minutes, usually 60 minutes: update runs as version 4"
    assert capsys.readouterr().out.rstrip().endswith(told)
    found = shown(desk, capsys)[0]
    assert found["message"] == "update runs as version 4"
    assert datetime.fromisoformat(found["runningSince"]) == begun.started
    assert found["usualSeconds"] == 3600


def test_what_rests_has_no_next_run(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A schedule of what is suspended runs at no time, so none is told."""
    due = ScheduleStatus(name="nightly", definition="x", last=NOW, next=NOW + timedelta(hours=1))
    desk.stands("net", State.SUSPENDED, ReasonCode.SUSPENDED, "reconcile.suspend is true")
    desk.stands("web", State.READY, ReasonCode.UP_TO_DATE)
    for name in ("net", "web"):
        desk.says(replace(desk.statuses.read(name), schedules=(due,)))
    found = shown(desk, capsys)
    assert [row["nextRun"] is not None for row in found] == [False, True]


def test_a_log_that_is_followed_begins_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the log stands for how long it has run, and how long it usually does."""
    before = ended(version=3, started=NOW - timedelta(minutes=5))
    of = Status(name="web", last=before, run=run(version=4, started=NOW))
    logs.tell_time(of, 4, NOW + timedelta(seconds=50))
    told = "update (version 4) has run for 50 seconds, usually 5 minutes\n"
    assert capsys.readouterr().err == told
    logs.tell_time(of, 3, NOW)
    assert capsys.readouterr().err == ""


def test_a_table_that_follows_tells_how_long(tmp_path: Path) -> None:
    """Of what runs while a pass is followed the time goes on, though nothing else changes."""
    glimpse = Glimpse(name="web", took=(("update", timedelta(minutes=5)),))
    row = Row(name="web", state=State.WAITING, code="", message="", seen=glimpse)
    clock = SimClock(time=NOW)
    with (tmp_path / "screen").open("w") as output, LiveTable([row], output, clock) as live:

        def shows(text: str) -> bool:
            output.flush()
            return text in (tmp_path / "screen").read_text()

        live.say("web", State.PROGRESSING, Reason(ReasonCode.RUNNING, "update runs as version 4"))
        clock.time += timedelta(seconds=50)
        eventually(lambda: shows("for 50 seconds, usually 5 minutes: update runs"), "the time")
        clock.time += timedelta(seconds=30)
        eventually(lambda: shows("for 80 seconds, usually 5 minutes"), "that it goes on")


def test_a_broken_and_a_new_file_are_told_at_once(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any run has looked: an edit that broke a file, a twin, and a spec that is new."""
    desk.stands("web", State.READY, ReasonCode.UP_TO_DATE)
    desk.stands("twin", State.READY, ReasonCode.UP_TO_DATE)
    (desk.specs / "new.yaml").write_text(SPEC.format(name="new"))
    assert {row["name"]: row["state"] for row in shown(desk, capsys)} == {
        "new": "Unknown",
        "twin": "Ready",
        "web": "Ready",
    }
    (desk.specs / "web.yaml").write_text("stack: acme/web\n")
    (desk.specs / "twin.yml").write_text(SPEC.format(name="twin"))
    new, twin, web = shown(desk, capsys)
    assert (new["stack"], new["message"]) == ("acme/new/dev", "no run has looked at it yet")
    assert (twin["state"], "has the same name as" in twin["message"]) == ("Invalid", True)
    assert (web["state"], web["reason"]) == ("Invalid", "Invalid")
    assert web["message"].startswith(f"{desk.specs}/web.yaml:1:")
    assert web["deployment"]["version"] == 3


def test_broken_defaults_are_told_at_once(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A _defaults.yaml that was edited makes all specs below it be looked at again."""
    desk.stands("web", State.READY, ReasonCode.UP_TO_DATE)
    (desk.specs / "_defaults.yaml").write_text("operationContex: {}\n")
    (web,) = shown(desk, capsys)
    assert web["state"] == "Invalid"


def test_removed_specs_are_listed_until_they_are_forgotten(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is gone is shown with what it waits for; only one that needs a person is not well."""
    desk.stands("lost", State.READY, ReasonCode.UP_TO_DATE, file=False)
    desk.stands("gone", State.WAITING, ReasonCode.REMOVED, "the file is gone", file=False)
    desk.says(replace(desk.statuses.read("gone"), removal=Removal(since=NOW)))
    gone, lost = shown(desk, capsys)
    assert (gone["state"], gone["message"]) == ("Waiting", "the file is gone")
    assert (lost["state"], lost["reason"]) == ("Waiting", "Removed")
    assert lost["message"] == "the file is gone, and no run has looked since"
    assert parser.run(desk.command("--exit-code")) == 0
    desk.says(replace(desk.statuses.read("gone"), state=State.STALLED))
    assert parser.run(desk.command("--exit-code")) == 1


def test_holds_are_shown_before_any_run_has_seen_them(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Suspended and resumed without a daemon: the table says so, but not over what runs."""
    fleet(desk)
    holds = HoldsFiles(desk.state.folder)
    holds.suspend("", Hold(by="ada", at=NOW))
    rows = {row["name"]: row for row in shown(desk, capsys)}
    assert rows["a-ready"]["state"] == "Suspended"
    assert rows["a-ready"]["message"] == (
        "ada suspended all specs on 2026-03-02 12:00 UTC; `reconciler resume --all` goes on"
    )
    assert rows["c-runs"]["state"] == "Progressing"
    holds.resume("")
    desk.stands("a-ready", State.SUSPENDED, ReasonCode.SUSPENDED, "ada suspended it on …")
    rows = {row["name"]: row for row in shown(desk, capsys)}
    assert rows["a-ready"]["state"] == "Unknown"
    assert rows["b-held"]["state"] == "Suspended"


# ---------------------------------------------------------------- how it looks


def row(name: str, state: State, message: str, **changes: object) -> Row:
    seen = Glimpse(
        name=name,
        stack="acme/web/dev",
        run=Shown(id="i", version=12, operation="update", status="running", commit=COMMIT),
    )
    base = Row(name=name, state=state, code="UpToDate", message=message, seen=seen)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_reason_is_cut_and_columns_go_where_there_is_no_room() -> None:
    """No line is longer than the terminal; name, state and reason stay on the narrowest."""
    rows = [row("web", State.READY, "as wanted " * 30), row("db", State.STALLED, "a\x1b[2Jb\nc")]
    for width in (60, 80, 120, 200):
        lines = table.as_lines(rows, Look(colour=False, width=width), 0)
        assert max(map(len, lines)) <= width
        assert lines[1].startswith("web")
        assert lines[1].endswith("…")
        assert "Ready" in lines[1]
        assert "as wanted" in lines[1]
        assert "a?[2Jb?c" in lines[2]
        assert lines[-1] == "1 needs a person, 1 Ready"
    assert "COMMIT" not in table.as_lines(rows, Look(width=80), 0)[0]
    assert "COMMIT" in table.as_lines(rows, Look(width=200), 0)[0]


def test_nothing_is_wider_than_the_narrowest_terminal() -> None:
    """Also letters that take two columns, counts of many, and a width that holds no state."""
    rows = [row("web", State.READY, "更新されました" * 9), row("x" * 90, State.STALLED, "é" * 99)]
    for width in (1, 9, 20, 40, 61):
        for lines in (
            table.as_lines(rows, Look(width=width), 3),
            table.as_brief_lines(rows * 9, Look(width=width), 8),
        ):
            taken = [sum(2 if east_asian_width(c) in "WF" else 1 for c in line) for line in lines]
            assert max(taken) <= width
    assert cut("更新更新", 8) == "更新更新"
    assert cut("更新更新", 7) == "更新更…"
    assert cut("更新更新", 6) == "更新…"


def test_unchanged_specs_are_not_parsed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a file that is newer than its status is read: 10,000 others cost a stat each."""
    fleet(desk)
    copies = (desk.specs, desk.state.statuses)
    later = time.time() + 60
    for path in (p for folder in copies for p in folder.glob("*.status.json")):
        os.utime(path, (later, later))
    options = parser.build().parse_args(desk.command())
    where = wiring.place(options)
    asked: list[list[str]] = []
    some = where.specs.some

    def count(found: Walk, wanted: Iterable[str]) -> Catalog:
        asked.append(sorted(wanted))
        return some(found, asked[-1])

    monkeypatch.setattr(where.specs, "some", count)
    rows = Rows(where)
    assert len(rows.read()) == 7
    for folder in copies:
        os.utime(folder / "a-ready.status.json", (1, 1))
    assert len(rows.read()) == 7
    assert asked == [[], ["a-ready.yaml"]]


def test_colours_are_of_the_state_alone() -> None:
    """With colours taken away, a line is what it is without them."""
    rows = [row("Ready", State.READY, "Ready"), row("x", State.INVALID, "Invalid  Ready ")]
    plain = table.as_lines(rows, Look(colour=False, width=90), 0)
    painted = table.as_lines(rows, Look(colour=True, width=90), 0)
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in painted] == plain
    assert "\x1b[32mReady\x1b[0m" in painted[1]
    assert painted[2].count("\x1b[") == 2


def test_what_has_no_room_is_counted() -> None:
    """On a low terminal the last line but one says how many more there are."""
    rows = [row(f"s{n}", State.READY, "as wanted") for n in range(30)]
    lines = table.as_lines(rows, Look(width=80), 10)
    assert len(lines) == 10
    assert lines[-2:] == ["… and 23 more", "30 Ready"]
    assert len(table.as_lines(rows[:8], Look(width=80), 10)) == 10


class Sink:
    """A terminal's writing side."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)

    def flush(self) -> None:
        pass


def test_only_lines_that_differ_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the screen is what was drawn last; the same again costs not a byte."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "8")
    sink = Sink()
    screen = Screen(sink)  # type: ignore[arg-type]
    view = Screenful(40, 8)
    for lines in (["one", "two", "three"], ["one", "2", "three"], ["one"], ["one", "a", "b", "c"]):
        screen.draw(lines)
        view.feed(sink.written[-1].replace("\n", "\r\n"))
        assert view.text().splitlines() == lines
        count = len(sink.written)
        screen.draw(lines)
        assert len(sink.written) == count
    assert "one" not in "".join(sink.written[1:])
    screen.draw([f"line {n}" for n in range(20)])
    view.feed(sink.written[-1].replace("\n", "\r\n"))
    assert len(view.text().splitlines()) == 7


# ---------------------------------------------------------------- with the real command line


@pytest.fixture
def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LANG": "C.UTF-8"}


@pytest.fixture
def watching(desk: Desk, environment: dict[str, str]) -> Iterator[TerminalRun]:
    fleet(desk)
    command = [sys.executable, "-m", "reconciler", *desk.command("--watch")]
    found = TerminalRun(command, environment, (80, 20))
    yield found
    found.close()


def test_a_watch_redraws_in_place(desk: Desk, watching: TerminalRun) -> None:
    """A change is seen where it stands, nothing wraps or scrolls, and Ctrl-C ends it with 0."""
    watching.wait_for("2 need a person, 1 Failed")
    desk.stands("c-runs", State.READY, ReasonCode.UP_TO_DATE, "version 4 is as wanted")
    text = watching.wait_for("2 Ready")
    assert text.splitlines()[0].startswith("NAME")
    assert text.splitlines()[-1].startswith("no run of this directory is known in")
    assert len(text.splitlines()) == 10
    assert "\x1b[32mReady\x1b[0m" in watching.read()
    assert not watching.screen().wrapped
    assert watching.read().count("g-stalled") == 1
    assert watching.end(signal.SIGINT) == 0
    assert "Traceback" not in watching.read()


def test_without_a_terminal_a_watch_is_lines(desk: Desk, environment: dict[str, str]) -> None:
    """Each spec once, then each change as a line; with -o json each is an object."""
    fleet(desk)
    for more in ((), ("-o", "json")):
        desk.stands("c-runs", State.PROGRESSING, ReasonCode.RUNNING)
        command = [sys.executable, "-m", "reconciler", *desk.command("--watch", *more)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as it:
            assert it.stdout is not None
            first = [it.stdout.readline() for _ in range(7)]
            desk.stands("c-runs", State.READY, ReasonCode.UP_TO_DATE, "as wanted")
            line = it.stdout.readline()
            it.send_signal(signal.SIGINT)
            assert it.wait(30) == 0
        if more:
            assert {json.loads(each)["name"] for each in first} >= {"a-ready", "g-stalled"}
            assert json.loads(line)["state"] == "Ready"
        else:
            assert re.match(r"\d\d:\d\d:\d\dZ  e-asks  Waiting: it is Approval", first[0])
            assert re.match(r"\d\d:\d\d:\d\dZ  c-runs  Ready: as wanted\n", line)


def test_a_watch_tells_who_reconciles_from_now_on(desk: Desk, environment: dict[str, str]) -> None:
    """A line when somebody begins; in JSON each object again, which names who that is."""
    desk.stands("web", State.READY, ReasonCode.UP_TO_DATE)
    for more in ((), ("-o", "json")):
        command = [sys.executable, "-m", "reconciler", *desk.command("--watch", *more)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as it:
            assert it.stdout is not None
            lines = [it.stdout.readline()]
            with StateDirectory(desk.data).lock(desk.specs, SystemClock()):
                lines.append(it.stdout.readline())
            lines.append(it.stdout.readline())
            it.send_signal(signal.SIGINT)
            assert it.wait(30) == 0
        if more:
            names = [json.loads(line)["reconciledBy"] for line in lines]
            assert (names[0], names[2]) == (None, None)
            assert names[1].startswith(f"process {os.getpid()}, since ")
        else:
            assert f"Z  reconciled by process {os.getpid()}, since " in lines[1]
            assert "Z  nobody reconciles this directory now; last looked at " in lines[2]
