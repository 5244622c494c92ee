from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest

from reconciler.clock import SystemClock
from reconciler.console.keeping import MOST_KEPT, Fetched, Kept
from reconciler.errors import ReconcilerError
from tests.factories import NOW

SECOND = timedelta(seconds=1)
LIMIT_S = 30.0


class SetClock(SystemClock):
    """A clock that a test sets."""

    moment = NOW

    def now(self) -> datetime:
        return self.moment


def test_a_value_is_made_once_for_a_while() -> None:
    """Within its age a value is the same for all; then, or once forgotten, it is made anew."""
    clock, made = SetClock(), iter(range(10))
    kept: Kept[int] = Kept(clock, SECOND)
    assert [kept.get("a", lambda: next(made)) for _ in range(3)] == [0, 0, 0]
    assert kept.get("b", lambda: next(made)) == 1
    clock.moment = NOW + SECOND
    assert kept.get("a", lambda: next(made)) == 2
    kept.forget()
    assert kept.get("a", lambda: next(made)) == 3
    clock.moment = NOW - timedelta(days=1)
    assert kept.get("a", lambda: next(made)) == 4


def test_not_everything_is_kept() -> None:
    """Of very many keys the oldest go."""
    kept: Kept[int] = Kept(SetClock(), SECOND)
    for number in range(MOST_KEPT + 1):
        kept.get(str(number), lambda: 0)
    assert kept.get("0", lambda: 1) == 1
    assert kept.get(str(MOST_KEPT), lambda: 1) == 0


@pytest.mark.parametrize("fails", [True, False])
def test_who_asks_waits_for_a_moment_only(fails: bool) -> None:  # noqa: FBT001 - one of two cases
    """What does not come in time is not there yet, and is when it has come; a fault is nothing."""
    clock, go, gone = SetClock(), threading.Event(), threading.Event()
    fetched: Fetched[str] = Fetched(clock, SECOND, timedelta(milliseconds=20), "nothing")

    def fetch() -> str:
        go.wait(LIMIT_S)
        gone.set()
        if fails:
            raise ReconcilerError("nobody answers")
        return "found"

    assert fetched.get("a", fetch) == "nothing"
    # It is under way: nobody asks a second time.
    assert fetched.get("a", lambda: pytest.fail("asked twice")) == "nothing"
    go.set()
    assert gone.wait(LIMIT_S)
    patient: Fetched[str] = Fetched(clock, SECOND, timedelta(seconds=LIMIT_S), "nothing")
    assert patient.get("a", fetch) == ("nothing" if fails else "found")
