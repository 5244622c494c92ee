"""How long things last, whatever somebody sets the clock to."""

from __future__ import annotations

from datetime import timedelta

from reconciler.clock import Lasting
from tests.fakes.world import SimClock

MINUTE = timedelta(minutes=1)


def test_what_lasts_is_counted_by_time_that_passes() -> None:
    """A clock that is set counts for nothing, and another thing begins anew."""
    clock = SimClock()
    lasting = Lasting(clock)
    assert lasting.lasts("web", "a") == timedelta(0)
    clock.time += MINUTE
    assert lasting.lasts("web", "a") == MINUTE
    clock.time += 60 * MINUTE
    clock.set_by += 60 * MINUTE
    assert lasting.lasts("web", "a") == MINUTE
    assert lasting.lasts("web", "b") == timedelta(0)
    clock.time += MINUTE
    lasting.end("web")
    assert lasting.lasts("web", "b") == timedelta(0)


def test_what_had_lasted_before_is_added() -> None:
    """What the first asking knows of the time before counts, but not less than nothing."""
    clock = SimClock()
    lasting = Lasting(clock)
    assert lasting.lasts("web", already=5 * MINUTE) == 5 * MINUTE
    clock.time += MINUTE
    assert lasting.lasts("web", already=30 * MINUTE) == 6 * MINUTE
    assert lasting.lasts("net", already=-MINUTE) == timedelta(0)
