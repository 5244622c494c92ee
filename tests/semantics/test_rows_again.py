"""What had no answer is asked for again where it would be asked for now, and only there."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reconciler.api.types import Operation, StackRef
from reconciler.daemon import Daemon
from reconciler.model import ReasonCode, RequestKind, Spec, State, Window
from reconciler.planning.gates import approval_key
from reconciler.values import replace
from tests.factories import NOW, spec
from tests.fakes.deployments_api import Fault
from tests.fakes.world import World
from tests.semantics.scene import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    ask,
    beside,
    code,
    every,
    go,
    notes,
    operations,
    records,
    world,
)

AT_TWO = "0 14 * * *"
TWO = NOW.replace(hour=14, minute=0)


def until(it: World, daemon: Daemon, moment: datetime) -> None:
    """Let the loop run up to a moment, with few passes on the way there."""
    go(it, daemon, MINUTE)
    it.clock.time = moment - 5 * SECOND


def lose(it: World, *, and_all_after: bool = False) -> list[bool]:
    """Lose the next create; and have the API down from then on, until the list is cleared."""
    lost, down = [True], list[bool]()

    def fault(method: str, path: str) -> Fault:
        if method == "POST" and path.endswith("/deployments") and lost and lost.pop():
            down.extend([True] * and_all_after)
            return Fault.LOST_BEFORE
        return Fault.SERVER_ERROR if down else Fault.NONE

    it.api.faults = fault
    return down


def edited(it: World, one: Spec, **changes: object) -> None:
    it.specs["web"] = replace(one, **changes)  # type: ignore[arg-type]
    it.digests["web"] = "e" * 64


def test_row_02_a_destroy_is_not_asked_for_again_hours_later() -> None:
    """A scheduled destroy that was lost with the API is missed, as one of a machine that slept."""
    it = world(spec("web", schedules=(every(AT_TWO, Operation.DESTROY),)))
    daemon = it.daemon()
    until(it, daemon, TWO)
    down = lose(it, and_all_after=True)
    go(it, daemon, 5 * HOUR, MINUTE)
    assert it.disk["web"].intent is not None
    down.clear()
    go(it, daemon, HOUR)
    assert operations(it) == ["update"]
    assert "a destroy is not caught up" in notes(it)


def test_row_02_a_schedule_that_is_gone_starts_nothing() -> None:
    """What a schedule had asked for is not wanted once a person has taken it out."""
    one = spec("web", schedules=(every(AT_TWO),))
    it = world(one)
    daemon = it.daemon()
    until(it, daemon, TWO)
    lose(it)
    go(it, daemon, 10 * SECOND)
    it.specs["web"] = replace(one, schedules=())
    daemon.wake()
    go(it, daemon, HOUR)
    assert operations(it) == ["update"]


@pytest.mark.parametrize("way", ["approval", "dry run", "suspended"])
def test_row_02_an_edit_while_it_settles_goes_its_own_way(way: str) -> None:
    """A scheduled run is not asked for again with what nobody approved, nor against the file."""
    one = spec(
        "web", schedules=(every(AT_TWO, Operation.UPDATE),), needs_approval=way == "approval"
    )
    it = world(one)
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    if way == "approval":
        shown = it.disk["web"].approval
        assert shown is not None
        ask(it, RequestKind.APPROVE, binds=approval_key(shown))
    until(it, daemon, TWO)
    before = operations(it)
    assert before[-1] == "update"
    lose(it)
    go(it, daemon, 10 * SECOND)
    assert it.disk["web"].intent is not None
    changes = {"approval": {}, "dry run": {"dry_run": True}, "suspended": {"suspended": True}}
    edited(it, one, **changes[way])
    daemon.wake()
    go(it, daemon, HOUR)
    assert set(operations(it)[len(before) :]) <= {"preview"}
    waits = {"approval": ReasonCode.APPROVAL, "suspended": ReasonCode.SUSPENDED}
    assert code(it) is waits.get(way, ReasonCode.UP_TO_DATE)


def test_row_02_a_window_that_has_closed_is_waited_for() -> None:
    """What was to run within a window and was lost runs within the next one."""
    window = Window(start=12 * 60, end=13 * 60)
    it = world(spec("web", windows=(window,)))
    daemon = it.daemon()
    until(it, daemon, NOW + 30 * MINUTE)
    down = lose(it, and_all_after=True)
    it.heads["web"] = "c" * 40
    daemon.mark({"web"})
    go(it, daemon, 7 * HOUR, MINUTE)
    down.clear()
    go(it, daemon, HOUR, MINUTE)
    assert (operations(it), code(it)) == (["update"], ReasonCode.WINDOW)
    go(it, daemon, DAY, MINUTE)
    assert [r.shown.created.hour for r in records(it)] == [12, 12]


def test_row_02_a_file_that_is_gone_asks_for_nothing() -> None:
    """The create of a spec whose file is gone is not sent once more."""
    it = world(spec("web", schedules=(every(AT_TWO),)))
    daemon = it.daemon()
    until(it, daemon, TWO)
    lose(it)
    go(it, daemon, 10 * SECOND)
    del it.specs["web"]
    daemon.wake()
    go(it, daemon, HOUR)
    assert operations(it) == ["update"]


@pytest.mark.parametrize("scheduled", [False, True])
def test_row_25_a_cancel_of_what_has_not_come_through(scheduled: bool) -> None:  # noqa: FBT001 - a table
    """A create that is cancelled while nobody knows of it is not asked for again."""
    it = world(spec("web", schedules=(every(AT_TWO),) if scheduled else ()))
    daemon = it.daemon()
    until(it, daemon, TWO)
    lose(it)
    if not scheduled:
        ask(it, RequestKind.TRIGGER)
    go(it, daemon, 10 * SECOND)
    assert it.disk["web"].intent is not None
    ask(it, RequestKind.CANCEL)
    go(it, daemon, HOUR)
    assert (operations(it), it.requests) == (["update"], {})
    state = it.disk["web"].state
    assert state is (State.READY if scheduled else State.STALLED)
    assert "cancelled by ada before it had come through" in notes(it)


def test_row_02_what_is_wanted_still_is_asked_for_under_its_name() -> None:
    """Where nothing has changed the same run is asked for, hours later, too."""
    it = world(spec("web"))
    daemon = it.daemon()
    down = lose(it, and_all_after=True)
    go(it, daemon, 5 * HOUR, MINUTE)
    down.clear()
    go(it, daemon, timedelta(minutes=10))
    assert operations(it) == ["update"]
    assert len({s.intent.run_id for s in it.journal if s.intent}) == 1


def late(it: World, name: str) -> None:
    """Have the first create for a stack arrive after twenty seconds, and nobody told."""
    first = [True]

    def fault(method: str, path: str) -> Fault:
        create = method == "POST" and path.endswith("/deployments") and f"/{name}/" in path
        return Fault.LATE if create and first and first.pop() else Fault.NONE

    it.api.knows_markers = False
    it.api.duration = 5 * MINUTE
    it.api.late_by = lambda: 20 * SECOND
    it.api.faults = fault


def test_row_29_another_stack_waits_for_what_was_sent() -> None:
    """A stack that is edited and edited back has the create that was on its way, and no other."""
    one = spec("web")
    it = world(one)
    late(it, "web")
    daemon = it.daemon()
    daemon.tick()
    it.clock.time += 2 * SECOND
    it.specs["web"] = replace(one, stack=StackRef("acme", "wbe", "dev"))
    daemon.wake()
    go(it, daemon, 4 * SECOND)
    it.specs["web"] = one
    daemon.wake()
    go(it, daemon, HOUR)
    assert (operations(it), it.disk["web"].state) == (["update"], State.READY)
    it.specs["web"] = replace(one, stack=StackRef("acme", "wbe", "dev"))
    daemon.wake()
    go(it, daemon, HOUR)
    assert operations(it, "wbe") == ["update"]


def test_row_30_what_was_sent_for_another_is_waited_for() -> None:
    """A spec that takes the stack of a removed one starts nothing beside what that had sent."""
    it = world(spec("a"), spec("b"))
    late(it, "a")
    daemon = it.daemon()
    daemon.tick()
    it.clock.time += 2 * SECOND
    del it.specs["a"]
    it.specs["b"] = replace(it.specs["b"], stack=StackRef("acme", "a", "dev"))
    daemon.wake()
    go(it, daemon, 10 * SECOND)
    assert (code(it, "b"), operations(it, "a")) == (ReasonCode.SETTLING, [])
    overlaps = beside(it, "a")
    go(it, daemon, HOUR)
    # What it had sent is as the other one wants it.
    assert (operations(it, "a"), overlaps) == (["update"], [])
    assert {name: s.state for name, s in it.disk.items()} == {"b": State.READY}
