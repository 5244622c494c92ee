"""Rows 26, 29 and 30: files that are back in time, and names that come in the place of others."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from reconciler.model import Hold, OnDelete, ReasonCode, State
from tests.factories import spec
from tests.fakes.world import World
from tests.semantics.scene import (
    HOUR,
    LONG,
    MINUTE,
    SECOND,
    code,
    go,
    operations,
    world,
)


def some() -> World:
    """Return a world of which one stack may go without a mass guard's word, deployed."""
    it = world(spec("web", on_delete=OnDelete.DESTROY), *(spec(f"other{i}") for i in range(3)))
    it.run_once()
    it.clock.time += HOUR
    return it


def held(it: World, *names: str) -> None:
    it.holds = replace(it.holds, names={n: Hold(by="ada", at=it.clock.time) for n in names})


@pytest.mark.parametrize("back", [9 * MINUTE + 45 * SECOND, 10 * MINUTE - SECOND])
def test_row_26_a_file_that_is_back_since_the_last_scan_is_seen(back: timedelta) -> None:
    """Nothing is destroyed of a file that came back after the last scan, and before its time."""
    it = some()
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    kept = it.specs.pop("web")
    daemon.wake()
    go(it, daemon, back, 700 * timedelta(milliseconds=1))
    assert it.disk["web"].removal is not None
    it.specs["web"] = kept
    go(it, daemon, 5 * MINUTE, SECOND)
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)


def test_row_26_processes_of_seconds_look_again_before_they_remove() -> None:
    """`run --once`, which nothing wakes, looks once more when its minute is over."""
    it = some()
    kept = it.specs.pop("web")
    it.run_once()
    it.clock.time += 11 * MINUTE
    began, wait = it.clock.time, it.clock.wait_until

    def waits(moment: datetime, wake: threading.Event) -> None:
        wait(moment, wake)
        if it.clock.time - began >= 35 * SECOND:
            it.specs["web"] = kept

    it.clock.wait_until = waits  # type: ignore[method-assign]
    assert it.daemon().run_once(LONG)
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)


def test_row_26_what_was_held_is_looked_for_before_it_goes_on() -> None:
    """A removal that a suspension held for an hour does not go on where the file is back."""
    it = some()
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    kept = it.specs.pop("web")
    held(it, "web")
    daemon.wake()
    go(it, daemon, HOUR, MINUTE)
    assert (code(it), operations(it)) == (ReasonCode.SUSPENDED, ["update"])
    go(it, daemon, 10 * SECOND)
    it.specs["web"] = kept
    held(it)
    go(it, daemon, 5 * MINUTE, SECOND)
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)
    del it.specs["web"]
    held(it, "web")
    go(it, daemon, HOUR, MINUTE)
    held(it)
    go(it, daemon, MINUTE)
    assert operations(it) == ["update", "destroy"]
