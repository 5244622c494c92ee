"""Starts a deployment's commands one after another, and ends the one that runs when asked to.

A command that may be cut off anywhere is killed at once. Pulumi in its operation is not: it is
interrupted, so that the resource in hand is finished and the state written, and killed only
when that takes too long.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from reconciler.engine.runners.base import Process

__all__ = ["CommandRun", "Patience", "StopKind"]


class StopKind(StrEnum):
    """Why a deployment is to end."""

    CANCEL = "cancel"  # someone wants it to
    SHUTDOWN = "shutdown"  # the engine stops
    LOST = "lost"  # it is no longer this engine's: nothing more of it may happen here


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait after the first interrupt, and after the second."""

    first_s: float
    second_s: float


class CommandRun:
    """Runs commands for one thread, while any other may ask to stop. Once asked, none starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: StopKind | None = None
        self._process: Process | None = None
        self._gentle = False
        self._late: Callable[[Process], None] | None = None
        self._ended = threading.Event()
        self._cut_off = False

    @property
    def asked(self) -> StopKind | None:
        """Why it is to stop; None while nobody has asked. The first to ask counts."""
        return self._asked

    @property
    def cut_off(self) -> bool:
        """Whether a gentle command was not waited for to the end, so that it left work undone."""
        return self._cut_off

    def run(self, start: Callable[[], Process], *, gentle: bool = False) -> int | None:
        """Run what is started to its end and return its exit code; None where it was not started.

        OSError where it cannot be started.
        """
        with self._lock:
            if self._asked is not None:
                return None
            self._ended.clear()
            self._gentle = gentle
        # That may take a minute in a pod, and whoever asks to stop meanwhile must not wait: it
        # may be the thread that proves this worker to be alive.
        process = start()
        with self._lock:
            self._process, late = process, self._late
        if late is not None:
            late(process)
        code = None
        while code is None:
            code = process.wait()
        with self._lock:
            self._process = None
            self._ended.set()
        return code

    def stop(self, kind: StopKind, patience: Patience) -> None:
        """Ask to stop, and see to it; returns at once. Asking the same again changes nothing."""
        with self._lock:
            first, again = self._asked is None, self._asked is kind
            self._asked = self._asked or kind
            process = self._process
            if process is None and not again:
                self._late = partial(self._end, kind, patience, first)
        if process is not None and not again:
            self._end(kind, patience, first, process)

    def abandon(self) -> None:
        """Kill what runs at once, gentle or not, and start nothing more."""
        with self._lock:
            self._asked = StopKind.LOST
            self._late = _kill
            process = self._process
        if process is not None:
            process.kill()

    def _end(self, kind: StopKind, patience: Patience, first: bool, process: Process) -> None:  # noqa: FBT001
        if not self._gentle:
            process.kill()
            return
        threading.Thread(
            target=self._press,
            args=(process, patience, first),
            name=f"stop-{kind}",
            daemon=True,
        ).start()

    def _press(self, process: Process, patience: Patience, first: bool) -> None:  # noqa: FBT001
        # Pulumi takes a second interrupt as "at once", so whoever asks next does not repeat it.
        if first:
            process.interrupt()
        if self._ended.wait(patience.first_s):
            return
        self._cut_off = True
        process.interrupt()
        if self._ended.wait(patience.second_s):
            return
        process.kill()


def _kill(process: Process) -> None:
    process.kill()
