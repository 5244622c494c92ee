"""What a process says, in each form: bounded, masked, and in one stream."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import log_output
from reconciler.cli.saying import say
from reconciler.errors import UsageError
from reconciler.model import Reason, ReasonCode, State

CANARY = "canary-9d1f-of-the-log"
LOG = logging.getLogger("reconciler.adapters.somewhere")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("reconciler")
    levels = root.level, ours.level
    before = list(root.handlers)
    yield
    for handler in [h for h in root.handlers if h not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def log_error(words: str, said: str) -> None:
    try:
        int(words)
    except ValueError:
        LOG.exception(said)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """What is said stands as it is on standard output, what is logged with time on the other."""
    log_output.configure("people", {})
    log_output.say("12:00:00Z  web  Ready: as wanted", spec="web")
    log_output.tell_problem("web.yaml:3:1: is no stack", file="web.yaml")
    LOG.info("in passing")
    LOG.warning("the %s is slow", "disk")
    out, err = capsys.readouterr()
    assert out == "12:00:00Z  web  Ready: as wanted\n"
    problem, warning = err.splitlines()
    assert problem == "web.yaml:3:1: is no stack"
    assert warning.endswith("Z  warning: the disk is slow")


def test_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """All in one stream, with fields, also what spans lines."""
    log_output.configure("json", {})
    log_output.say("two\nlines", spec="web", state="Ready")
    log_output.tell_problem("wrong", file="web.yaml")
    LOG.info("in passing")
    log_error("broken", "it broke")
    logging.getLogger("urllib3").info("others say nothing")
    said, problem, passing, broke = lines(capsys)
    assert (said["message"], said["spec"], said["state"]) == ("two\nlines", "web", "Ready")
    assert (problem["level"], problem["file"]) == ("warning", "web.yaml")
    assert (passing["level"], passing["logger"]) == ("info", "reconciler.adapters.somewhere")
    assert "ValueError: invalid literal" in broke["trace"]
    assert broke["trace"].endswith("'broken'")
    assert said["time"].endswith("Z")
    assert len(said["time"]) == len("2027-03-01T12:00:00.000Z")


def test_a_standing_is_told_without_what_stands_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """JSON has time, name and state in fields, and a level by which an alarm can go."""
    log_output.configure("json", {})
    say("web", State.STALLED, Reason(ReasonCode.FAILED, "gave up after 3 tries"))
    say("net", State.READY, Reason(ReasonCode.UP_TO_DATE, "as wanted"))
    stalled, ready = lines(capsys)
    assert (stalled["level"], stalled["message"]) == ("warning", "gave up after 3 tries")
    assert (stalled["spec"], stalled["state"]) == ("web", "Stalled")
    assert (ready["level"], ready["message"], ready["spec"]) == ("info", "as wanted", "net")
    log_output.configure("people", {})
    say("web", State.FAILED, Reason(ReasonCode.FAILED, "it broke"))
    assert re.fullmatch(r"\d\d:\d\d:\d\dZ  web  Failed: it broke\n", capsys.readouterr().out)


@pytest.mark.parametrize("form", ["people", "json"])
def test_secrets_are_masked(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the environment, those that are read later, and what looks like a token."""
    values = ["later-" + CANARY]
    log_output.configure(
        form, {"RECONCILER_SECRET_X": CANARY, "PULUMI_ACCESS_TOKEN": "pul-" + CANARY}
    )
    log_output.hide(lambda: values)
    token = "ghp_" + "a1B2" * 9
    log_output.say(f"it is {CANARY}", spec=CANARY)
    LOG.error("a %s, pul-%s and %s", values[0], CANARY, token)
    LOG.error("https://ada:pass-word@example.com/x")
    log_error(CANARY, "broke")
    shown = "".join(capsys.readouterr())
    assert "canary" not in shown
    assert token not in shown
    assert "pass-word" not in shown
    assert shown.count("[secret]") >= 5


def test_where_a_secret_is_is_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files and directories stay readable, and so do short values."""
    environ = {
        "CREDENTIALS_DIRECTORY": "/run/credentials/x",
        "TOKEN_FILE": "/etc/tok",
        "TOKEN": "no",
    }
    log_output.configure("people", environ)
    log_output.say("no, /run/credentials/x, /etc/tok")
    assert capsys.readouterr().out == "no, /run/credentials/x, /etc/tok\n"


def test_a_line_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A message of a million letters is cut, and says by how much; a trace keeps its end."""
    log_output.configure("json", {})
    log_output.say("x" * 1_000_000, spec="y" * 1_000_000)
    log_error("z" * 1_000_000, "broke")
    said, broke = lines(capsys)
    assert said["message"].endswith("… (992000 more characters)")
    assert len(said["message"]) + len(said["spec"]) + len(broke["trace"]) < 30_000


def test_without_being_set_up_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """What is said before, or by a test, is printed."""
    log_output.say("here")
    log_output.tell_problem("there")
    assert tuple(capsys.readouterr()) == ("here\n", "there\n")


# ---------------------------------------------------------------- the journal


def fields(data: bytes) -> dict[str, str]:
    """Read an entry as the journal does."""
    found = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[9 + size :]
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[tuple[socket.socket, Path]]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(30)
        yield listener, path


def test_entries_with_fields(journal: tuple[socket.socket, Path]) -> None:
    """An entry has a priority, who says it, and the fields of a spec; line ends stay whole."""
    listener, path = journal
    log_output.configure("journal", {"A_TOKEN": CANARY}, str(path))
    log_output.say("web\nis Ready", spec="web", state="Ready", reason="UpToDate")
    LOG.error("no %s", CANARY)
    said, error = fields(listener.recv(1 << 16)), fields(listener.recv(1 << 16))
    assert said == {
        "MESSAGE": "web\nis Ready",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "reconciler",
        "LOGGER": "reconciler.said",
        "RECONCILER_SPEC": "web",
        "RECONCILER_STATE": "Ready",
        "RECONCILER_REASON": "UpToDate",
    }
    assert (error["MESSAGE"], error["PRIORITY"]) == ("no [secret]", "3")


def test_a_standing_in_the_journal(journal: tuple[socket.socket, Path]) -> None:
    """An entry names the spec, leaves the time to the journal, and is a warning where it must."""
    listener, path = journal
    log_output.configure("journal", {}, str(path))
    say("web", State.FAILED, Reason(ReasonCode.FAILED, "it broke"))
    said = fields(listener.recv(1 << 16))
    assert (said["MESSAGE"], said["PRIORITY"]) == ("web  Failed: it broke", "4")
    assert (said["RECONCILER_SPEC"], said["RECONCILER_STATE"]) == ("web", "Failed")


def test_a_journal_that_starts_anew_is_found_again(
    journal: tuple[socket.socket, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """While it is gone lines go to standard error; then they are its again."""
    listener, path = journal
    log_output.configure("journal", {}, str(path))
    listener.close()
    path.unlink()
    log_output.say("nobody hears")
    assert capsys.readouterr().err == "nobody hears\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(path))
        again.settimeout(30)
        log_output.say("here again")
        assert fields(again.recv(1 << 16))["MESSAGE"] == "here again"


def test_a_service_of_systemds_speaks_to_the_journal(
    journal: tuple[socket.socket, Path], tmp_path: Path
) -> None:
    """By itself only where standard error is the journal's own file, and the journal is there."""
    here = os.fstat(2)
    stream = {"JOURNAL_STREAM": f"{here.st_dev}:{here.st_ino}"}
    assert log_output.chosen("auto", stream, str(journal[1])) == "journal"
    assert log_output.chosen("auto", stream, str(tmp_path / "none")) == "people"
    assert log_output.chosen("auto", {"JOURNAL_STREAM": "1:2"}, str(journal[1])) == "people"
    assert log_output.chosen("auto", {}, str(journal[1])) == "people"
    assert log_output.chosen("json", stream, str(journal[1])) == "json"


def test_no_journal_is_told(tmp_path: Path) -> None:
    """Outside systemd the message says what the form is for."""
    with pytest.raises(UsageError, match=r"there is no journal at .* is for a service of systemd"):
        log_output.configure("journal", {}, str(tmp_path / "none"))


# ---------------------------------------------------------------- the command


def test_the_command_says_json(tmp_path: Path) -> None:
    """With --log-format json all that `run` says is an object a line, mistakes included."""
    (tmp_path / "specs").mkdir()
    path = tmp_path / "specs/bad.yaml"
    path.write_text("stack: nowhere\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))  # nobody writes it at this moment
    done = subprocess.run(
        [
            *(sys.executable, "-m", "reconciler", "run", "--once", "specs"),
            *("--data", "state", "--log-format", "json", "--api-url", "http://127.0.0.1:9"),
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PULUMI_ACCESS_TOKEN": CANARY},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (1, "")
    assert {line.get("file") for line in said} >= {"specs/bad.yaml"}
    (standing,) = [line for line in said if line.get("spec") == "bad"]
    assert (standing["state"], standing["reason"]) == ("Invalid", "Invalid")
    assert CANARY not in done.stdout


def test_a_command_that_cannot_work_says_so_in_json(tmp_path: Path) -> None:
    """An error of the command line's is a line of JSON too."""
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "run", "nowhere", "--log-format", "json"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    (said,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (2, "")
    assert said["message"].startswith("reconciler: nowhere is no directory")
