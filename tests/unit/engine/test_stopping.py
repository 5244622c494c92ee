from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from reconciler.engine.runners.base import Process
from reconciler.engine.stopping import CommandRun, Patience, StopKind

NONE = Patience(first_s=0.0, second_s=0.0)
SHORT = Patience(first_s=0.0, second_s=60.0)
LONG = Patience(first_s=60.0, second_s=60.0)
LIMIT_S = 10.0


class Obstinate:
    """A process that ends after so many interrupts, or when it is killed."""

    def __init__(self, ends_after: int) -> None:
        self.done: list[str] = []
        self.told = threading.Condition()
        self._ends_after = ends_after
        self._ended = threading.Event()

    def wait(self, timeout_s: float | None = None) -> int | None:
        if not self._ended.wait(timeout_s):
            return None
        return 137 if "kill" in self.done else 1

    def interrupt(self) -> None:
        self._tell("interrupt")
        if self.done.count("interrupt") >= self._ends_after:
            self._ended.set()

    def kill(self) -> None:
        self._tell("kill")
        self._ended.set()

    def _tell(self, what: str) -> None:
        with self.told:
            self.done.append(what)
            self.told.notify_all()

    def was_told(self, count: int) -> bool:
        with self.told:
            return self.told.wait_for(lambda: len(self.done) >= count, LIMIT_S)


class OneProcess:
    """What has one process to start."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.started = threading.Event()

    def start(self) -> Process:
        self.started.set()
        return self.process


def run_and_stop(
    process: Obstinate, *, stop: Callable[[CommandRun], None], gentle: bool = True
) -> tuple[int | None, CommandRun]:
    """Run the process in a thread, stop it as told, and return its exit code."""
    one = OneProcess(process)
    commands = CommandRun()
    codes: list[int | None] = []
    thread = threading.Thread(target=lambda: codes.append(commands.run(one.start, gentle=gentle)))
    thread.start()
    assert one.started.wait(LIMIT_S)
    stop(commands)
    thread.join(LIMIT_S)
    assert codes
    return codes[0], commands


def test_an_ordinary_command_is_killed_at_once() -> None:
    """Before the Pulumi operation nothing is worth waiting for."""
    process = Obstinate(ends_after=9)
    code, commands = run_and_stop(
        process, gentle=False, stop=lambda c: c.stop(StopKind.CANCEL, LONG)
    )
    assert (code, process.done) == (137, ["kill"])
    assert commands.asked is StopKind.CANCEL
    assert not commands.cut_off


def test_pulumi_is_interrupted_and_waited_for() -> None:
    """In the operation one interrupt is given, and its own end is waited for."""
    process = Obstinate(ends_after=1)
    code, commands = run_and_stop(process, stop=lambda c: c.stop(StopKind.CANCEL, LONG))
    assert (code, process.done) == (1, ["interrupt"])
    assert not commands.cut_off


@pytest.mark.parametrize(
    ("ends_after", "patience", "done"),
    [
        (2, SHORT, ["interrupt", "interrupt"]),
        (9, NONE, ["interrupt", "interrupt", "kill"]),
    ],
)
def test_patience_ends(ends_after: int, patience: Patience, done: list[str]) -> None:
    """When the grace is over a second interrupt comes, and then the kill."""
    process = Obstinate(ends_after)
    _, commands = run_and_stop(process, stop=lambda c: c.stop(StopKind.CANCEL, patience))
    assert process.done == done
    assert commands.cut_off


def test_asking_again_changes_nothing() -> None:
    """A cancel that was sent twice is no second interrupt, which would cut Pulumi off."""
    process = Obstinate(ends_after=2)

    def stop(commands: CommandRun) -> None:
        commands.stop(StopKind.CANCEL, LONG)
        commands.stop(StopKind.CANCEL, LONG)
        assert process.was_told(1)
        assert process.done == ["interrupt"]
        process.interrupt()

    code, _ = run_and_stop(process, stop=stop)
    assert code == 1


def test_an_ending_engine_shortens_the_patience_of_a_cancel() -> None:
    """A shutdown after a cancel has its own, shorter patience; who asked first is remembered."""
    process = Obstinate(ends_after=2)

    def stop(commands: CommandRun) -> None:
        commands.stop(StopKind.CANCEL, LONG)
        commands.stop(StopKind.SHUTDOWN, SHORT)

    _, commands = run_and_stop(process, stop=stop)
    assert process.done == ["interrupt", "interrupt"]
    assert commands.asked is StopKind.CANCEL


def test_nothing_starts_after_a_stop() -> None:
    """Once asked to stop, no further command is started."""
    one = OneProcess(Obstinate(1))
    commands = CommandRun()
    commands.stop(StopKind.SHUTDOWN, LONG)
    assert commands.run(one.start) is None
    assert not one.started.is_set()


@pytest.mark.parametrize("gentle", [False, True])
def test_who_stops_does_not_wait_for_a_start(*, gentle: bool) -> None:
    """A stop while a command is being started returns at once, and holds once it has begun."""
    process, go_on = Obstinate(ends_after=1), threading.Event()
    starting = threading.Event()

    def start() -> Process:
        starting.set()
        assert go_on.wait(LIMIT_S)
        return process

    commands = CommandRun()
    codes: list[int | None] = []
    thread = threading.Thread(target=lambda: codes.append(commands.run(start, gentle=gentle)))
    thread.start()
    assert starting.wait(LIMIT_S)
    asking = threading.Thread(target=lambda: commands.stop(StopKind.CANCEL, LONG))
    asking.start()
    asking.join(LIMIT_S / 2)
    waited = asking.is_alive()
    go_on.set()
    thread.join(LIMIT_S)
    asking.join(LIMIT_S)
    assert not waited
    assert process.done == (["interrupt"] if gentle else ["kill"])
    assert codes == [1 if gentle else 137]


def test_what_is_being_started_is_abandoned() -> None:
    """A command that begins only after its deployment was abandoned is killed, gentle or not."""
    process = Obstinate(ends_after=9)
    commands = CommandRun()

    def start() -> Process:
        commands.abandon()
        return process

    assert commands.run(start, gentle=True) == 137
    assert process.done == ["kill"]
