"""`destroyAfter` in the real loop: a stack's end comes once, by the rules of every other run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.model import ReasonCode, RequestKind, Retry, State, WhileRunning
from reconciler.planning.gates import approval_key
from tests.factories import NOW, spec
from tests.fakes.deployments_api import Outcome
from tests.semantics.scene import (
    DAY,
    HOUR,
    MINUTE,
    ask,
    code,
    go,
    operations,
    records,
    states,
    world,
)

SOON = timedelta(minutes=10)


def test_a_stack_ends_once() -> None:
    """It is destroyed when its time has come, stays so, and is after a restart."""
    it = world(spec("web", destroy_after=SOON))
    daemon = it.daemon()
    go(it, daemon, 9 * MINUTE)
    assert operations(it) == ["update"]
    go(it, daemon, HOUR)
    daemon = it.daemon()
    go(it, daemon, HOUR)
    it.digests["web"] = "e" * 64
    daemon.wake()
    go(it, daemon, HOUR)
    assert operations(it) == ["update", "destroy"]
    assert (states(it), code(it, "web")) == ({"web": State.READY}, ReasonCode.DESTROYED)


def test_an_end_that_fails_is_tried_as_often_as_any_run() -> None:
    """The retries and their waits count for it, too."""
    it = world(spec("web", destroy_after=SOON, retry=Retry(limit=1, backoff=5 * MINUTE)))
    daemon = it.daemon()
    go(it, daemon, 9 * MINUTE)
    it.api.outcome = lambda _: Outcome.FAIL
    go(it, daemon, 14 * MINUTE)
    assert operations(it) == ["update", "destroy"]
    go(it, daemon, 3 * HOUR)
    assert operations(it) == ["update", "destroy", "destroy"]
    assert code(it, "web") is ReasonCode.RETRIES_EXHAUSTED


def test_an_end_waits_for_the_approval_of_it() -> None:
    """It is asked for once, and what is approved is what runs."""
    it = world(spec("web", destroy_after=SOON, needs_approval=True))
    daemon = it.daemon()
    for done in (["preview", "update"], ["preview", "update", "destroy"]):
        go(it, daemon, HOUR)
        approval = it.disk["web"].approval
        assert approval is not None
        ask(it, RequestKind.APPROVE, binds=approval_key(approval), request_id=f"a{len(done)}")
        go(it, daemon, 2 * MINUTE)
        assert operations(it) == done
    assert code(it, "web") is ReasonCode.DESTROYED


@pytest.mark.parametrize("wrong", [-10 * DAY, 10 * DAY])
def test_no_end_comes_early_for_one_clock_that_was_wrong(wrong: timedelta) -> None:
    """First deployed while the machine's clock, or the API's, is wrong, it has its whole time."""
    for whose in ("ours", "the API's"):
        it = world(spec("web", destroy_after=7 * DAY))
        off = {"by": wrong if whose == "the API's" else timedelta(0)}
        it.api.now = lambda it=it, off=off: NOW + it.clock.running() + off["by"]  # type: ignore[misc]
        it.clock.set_ahead(wrong if whose == "ours" else timedelta(0))
        daemon = it.daemon()
        go(it, daemon, MINUTE)
        it.clock.set_ahead(-wrong if whose == "ours" else timedelta(0))
        off["by"] = timedelta(0)
        go(it, daemon, 6 * DAY, HOUR)
        assert operations(it) == ["update"], whose


@pytest.mark.parametrize("set_right", [True, False])
def test_a_clock_that_is_set_ahead_ends_no_stack_at_once(*, set_right: bool) -> None:
    """That its time has come is seen for ten minutes, and nothing starts in them."""
    it = world(spec("web", destroy_after=8 * HOUR))
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    it.clock.set_ahead(DAY)
    it.heads["web"] = "c" * 40
    go(it, daemon, 9 * MINUTE)
    assert (operations(it), states(it)) == (["update"], {"web": State.WAITING})
    assert code(it) is ReasonCode.EXPIRED
    it.clock.set_ahead(-DAY if set_right else timedelta(0))
    go(it, daemon, 3 * MINUTE)
    assert operations(it) == ["update", "update" if set_right else "destroy"]
    go(it, daemon, 9 * HOUR, 5 * MINUTE)
    assert operations(it)[-1:] == ["destroy"]
    assert (len(operations(it)), code(it)) == (3 if set_right else 2, ReasonCode.DESTROYED)


def test_an_end_that_has_begun_goes_on_in_another_process() -> None:
    """It is neither cancelled nor undone while that one has not seen for itself that it is due."""
    retry = Retry(limit=2, backoff=MINUTE)
    one = spec("web", destroy_after=SOON, while_running=WhileRunning.CANCEL, retry=retry)
    it = world(one)
    daemon = it.daemon()
    go(it, daemon, 9 * MINUTE)
    it.api.duration, it.api.outcome = 5 * MINUTE, lambda _: Outcome.FAIL
    go(it, daemon, 13 * MINUTE)
    for failed in (False, True):
        assert operations(it) == ["update", "destroy"]
        go(it, it.daemon(), (8 if failed else 1) * MINUTE)
    it.api.outcome = lambda _: Outcome.SUCCEED
    go(it, it.daemon(), 8 * MINUTE)
    go(it, it.daemon(), 20 * MINUTE)
    assert operations(it) == ["update", "destroy", "destroy", "destroy"]
    assert code(it) is ReasonCode.DESTROYED
    assert not any(r.canceled for r in records(it))


def test_processes_of_seconds_end_a_stack_too() -> None:
    """`run --once` sees for a minute that the time has come, and waits for it."""
    it = world(spec("web", destroy_after=SOON))
    it.run_once()
    it.clock.time += HOUR
    began = it.clock.time
    it.run_once()
    assert (operations(it), code(it)) == (["update", "destroy"], ReasonCode.DESTROYED)
    assert it.clock.time - began > MINUTE
    it.run_once()
    assert operations(it) == ["update", "destroy"]


def test_many_ends_at_once_are_nobodys_change() -> None:
    """What ends by its own time is not held back as very many changes are."""
    it = world(*(spec(f"s{n}", destroy_after=SOON) for n in range(30)))
    daemon = it.daemon()
    go(it, daemon, HOUR)
    assert all(operations(it, name) == ["update", "destroy"] for name in it.specs)
