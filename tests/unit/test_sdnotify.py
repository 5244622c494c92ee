"""What is said to systemd, over its own kind of socket."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sdnotify import LONGEST_STATUS, ServiceManager
from tests.fakes.service_manager import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path / "notify")
    yield found
    found.close()


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_each_message_is_a_datagram(manager: Manager) -> None:
    """Ready, a status, and the end are said in systemd's words."""
    told = ServiceManager(str(manager.path), 0)
    told.ready()
    told.status("12 specs: 12 Ready")
    told.stopping()
    while manager.listen(0):
        pass
    assert manager.heard == ["READY=1", "STATUS=12 specs: 12 Ready", "STOPPING=1"]


def test_a_status_is_one_line_and_said_once(manager: Manager) -> None:
    """What would be a second message within one is none, and nothing is said twice running."""
    told = ServiceManager(str(manager.path), 0)
    for text in ("a\nREADY=1", "a\nREADY=1", "x" * 1000, "a\nREADY=1"):
        told.status(text)
    while manager.listen(0):
        pass
    assert manager.heard == [
        "STATUS=a READY=1",
        f"STATUS={'x' * LONGEST_STATUS}",
        "STATUS=a READY=1",
    ]


def test_a_beat_is_sent_as_often_as_it_is_needed(manager: Manager) -> None:
    """However often the work gets on, the watchdog hears it four times an interval."""
    clock = Hand()
    told = ServiceManager(str(manager.path), 8.0, clock)
    assert told.beat_s == 2.0
    for _ in range(50):
        told.alive()
        clock.now_s += 0.5
        manager.listen(0)
    assert manager.heard == ["WATCHDOG=1"] * 13


def test_without_a_watchdog_there_are_no_beats(manager: Manager) -> None:
    """Who has not asked for beats gets none."""
    ServiceManager(str(manager.path), 0).alive()
    assert not manager.listen(0)


def test_what_the_environment_says_is_taken_out_of_it(manager: Manager) -> None:
    """Processes that are started from here do not speak in this one's name."""
    environ = {
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": "3000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    told = ServiceManager.of(environ)
    assert environ == {"HOME": "/"}
    assert told.interval_s == 3.0
    told.alive()
    assert manager.listen(0)


@pytest.mark.parametrize(
    "given",
    [
        {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": ""},
        {},
    ],
)
def test_a_watchdog_that_is_not_ours(manager: Manager, given: dict[str, str]) -> None:
    """One for another process, and one that says no time, are left alone."""
    told = ServiceManager.of({"NOTIFY_SOCKET": str(manager.path), **given})
    assert told.interval_s == 0
    told.ready()
    assert manager.listen(0)


def test_an_abstract_socket() -> None:
    """An address that begins with @ is a name in the kernel alone."""
    name = f"reconciler-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        ServiceManager.of({"NOTIFY_SOCKET": f"@{name}"}).ready()
        listener.settimeout(10)
        assert listener.recv(100) == b"READY=1"


def test_nobody_listens(tmp_path: Path) -> None:
    """Where nobody is to be told, or nobody is there, the work goes on."""
    ServiceManager.of({}).ready()
    ServiceManager.of({"WATCHDOG_USEC": "1000000"}).alive()
    gone = ServiceManager(str(tmp_path / "gone"), 1.0)
    gone.ready()
    gone.alive()
    gone.status("x")


def test_a_full_socket_holds_nobody_up(manager: Manager) -> None:
    """Where systemd reads nothing for long, messages are lost and nothing waits."""
    told = ServiceManager(str(manager.path), 0)
    for number in range(5000):
        told.status(f"status {number}")
    assert manager.listen(0)
