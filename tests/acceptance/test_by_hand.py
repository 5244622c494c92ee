"""What people say by hand, with the real command line, engine, git and pulumi."""

from __future__ import annotations

import shutil
import signal
import socket
from contextlib import closing

import pytest

from reconciler.adapters.status_glance import Glimpse, Shown
from reconciler.cli.rows import Row
from reconciler.cli.run import stopped
from reconciler.model import State
from tests.acceptance.conftest import Place, eventually
from tests.fakes.terminal import TerminalRun

pytestmark = pytest.mark.real


def test_a_running_daemon_hears_of_approvals_and_suspensions(place: Place) -> None:
    """A preview waits for a person; a suspended spec for its resumption: both reach a daemon."""
    place.program()
    spec = place.spec("one", "reconcile: {approval: required}\n")
    running = place.start("run", "specs", *place.run_arguments())
    eventually(lambda: place.status("one")["reason"] == "Approval", "the question")
    assert not (place.made / "one.txt").exists()
    why = place.by_hand("why", "one").stdout
    assert "(version 1; a preview to be approved) succeeded" in why
    assert "update can be approved until" in why
    assert "reconciler approve one" in why
    assert "nobody reconciles" not in why
    done = place.by_hand("approve", "one", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as version 1 has shown it" in done.stdout
    assert str(running.pid) in done.stdout
    assert place.status("one")["state"] == "Ready"
    assert (place.made / "one.txt").read_text() == "eu"
    held = ("--directory", "specs", "--data", str(place.data))
    assert place.reconciler("suspend", "one", *held).returncode == 0
    eventually(lambda: place.status("one")["state"] == "Suspended", "the suspension")
    spec.write_text(spec.read_text().replace("approval: required", "timeout: 1h"))
    assert place.reconciler("resume", "one", *held).returncode == 0
    eventually(lambda: place.status("one")["state"] == "Ready", "the end of it")
    running.terminate()
    running.communicate(timeout=10)
    assert running.returncode == 0


def test_what_a_daemon_does_is_waited_for(place: Place) -> None:
    """With `--wait` the lines and the code are of the run that was asked for."""
    place.program(delay="3")
    place.spec("one")
    running = place.start("run", "specs", *place.run_arguments())
    eventually(lambda: place.status("one").get("state") == "Ready", "the first run")
    done = place.by_hand("trigger", "one", "--operation", "refresh", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one  Progressing: " in done.stdout
    assert "refresh" in done.stdout
    assert place.status("one")["deployment"]["version"] == 2
    done = place.by_hand("trigger", "one", "--wait", "--timeout", "1s")
    assert done.returncode == 1
    assert "gave up waiting after 0:00:01 (--timeout); what was asked for stands" in done.stdout
    running.terminate()
    running.communicate(timeout=60)


def test_who_stops_a_pass_is_told_so(place: Place) -> None:
    """Ctrl-C is no time limit: that is said, and before it what is not there and who can look."""
    place.program()
    place.spec("one")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    place.environment["PULUMI_ACCESS_TOKEN"] = "pul-nobody-takes-it"
    running = place.start("run", "--once", "specs", "--data", str(place.data), "--api-url", url)
    eventually(lambda: place.status("one").get("reason") == "ApiUnavailable", "no answer")
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 1
    assert f"{url} did not answer: nothing listens there (connection refused)" in said
    assert "`reconciler doctor`, with the same options, looks further" in said
    assert said.endswith("stopped; nothing that was started runs\n")
    assert "gave up" not in said


def test_what_goes_on_after_a_stop_is_named() -> None:
    """What runs when somebody stops a pass goes on by itself, and is taken up again."""
    shown = Shown(id="x", version=3, operation="update", status="running", commit="a" * 40)
    rows = [
        Row(name=name, state=state, code="", message="", seen=Glimpse(name=name, run=shown))
        for name, state in (("web", State.PROGRESSING), ("db", State.READY))
    ]
    assert stopped(rows) == (
        "stopped; what has begun of web goes on by itself: "
        "the next `reconciler run` takes it up where it is then"
    )


def test_a_forgotten_stack_is_adopted_without_a_run(place: Place) -> None:
    """With every status lost nothing runs by itself; adopted, the stack is Ready as it is."""
    place.program()
    place.spec("one")
    place.once()
    (place.specs / "one.status.json").unlink()
    shutil.rmtree(place.data / "directories")
    spec = place.specs / "one.yaml"
    spec.write_text(spec.read_text().replace("REGION: eu", "REGION: us"))
    assert "Stalled" in place.once(1)
    done = place.reconciler(
        "adopt", "--all", "--yes", "--directory", "specs", *place.run_arguments()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one (acme/web/one): the stack has 1 deployments" in done.stdout
    assert place.status("one")["deployment"]["version"] == 1
    assert place.status("one")["state"] == "Ready"
    assert (place.made / "one.txt").read_text() == "eu"


def test_on_a_terminal_a_pass_is_followed_in_place(place: Place) -> None:
    """The table changes where it stands, fits the terminal, and ends as the usual one."""
    place.program(delay="1")
    place.spec("one")
    place.spec("two", "reconcile: {dependsOn: [one]}\n")
    command = place.command("run", "--once", "specs", *place.run_arguments())
    with closing(TerminalRun(command, place.full_environment(), (100, 24), place.root)) as shown:
        shown.wait_for("Progressing  for ")
        shown.wait_for(": update runs as version 1")
        assert "2 Ready" not in shown.read()
        assert shown.wait() == 0
        text = shown.screen().text()
        assert not shown.screen().wrapped
    lines = text.splitlines()
    assert lines[0].split()[:3] == ["NAME", "STACK", "STATE"]
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["one", "acme/web/one", "Ready"],
        ["two", "acme/web/two", "Ready"],
    ]
    assert lines[3:] == ["2 Ready"]


def test_a_mass_change_is_planned_held_and_let_through(place: Place) -> None:
    """The ID that `plan` shows lets exactly these changes through, before any run has seen them."""
    place.program()
    config = place.root / "config.yaml"
    config.write_text("limits: {massChange: {percent: 25, count: 1}}\n")
    place.flags += ["--config", str(config)]
    specs = [place.spec(name) for name in ("one", "two", "three")]
    place.once()
    for spec in specs[:2]:
        spec.write_text(spec.read_text().replace("REGION: eu", "REGION: us"))
    text = place.plan(0)
    assert "\n  one, two\n" in text
    mass = text.partition("with the ID ")[2].split()[0]
    assert place.reconciler(
        "approve", "--mass", "none", "--directory", "specs", *place.run_arguments()
    ).stderr.endswith(f"these do: {mass} (2 of them: one, two)\n")
    done = place.reconciler(
        "approve", "--mass", mass, "--directory", "specs", *place.run_arguments()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {n: (place.made / f"{n}.txt").read_text() for n in ("one", "two", "three")} == {
        "one": "us",
        "two": "us",
        "three": "eu",
    }
