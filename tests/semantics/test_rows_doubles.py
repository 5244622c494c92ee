"""Rows 4, 12 and 15 where several come at once: none of ours or of others' is passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests

from reconciler.api.types import JobStatus, Operation, StackRef, StepStatus
from reconciler.model import ReasonCode, RequestKind, State
from tests.factories import request, spec
from tests.fakes.deployments_api import Outcome, Record
from tests.fakes.world import World
from tests.semantics.scene import (
    LONG,
    MINUTE,
    SECOND,
    ask,
    beside,
    calls,
    code,
    go,
    notes,
    operations,
    others,
    ready,
    records,
    states,
    world,
)

MOVED = "c" * 40


def slow(*arrive_again: timedelta, lag: timedelta = 0 * SECOND) -> World:
    """A world whose API does not know markers; the first create arrives again after so long."""
    it = world(spec("web"))
    it.api.knows_markers, it.api.lag = False, lag
    it.api.duration = 50 * SECOND
    send, left = it.api.send, list(arrive_again)

    def twice(request: requests.PreparedRequest, *of: Any, **named: Any) -> requests.Response:
        answer = send(request, *of, **named)
        if request.method == "POST" and str(request.url).endswith("/deployments"):
            while left:
                it.api._late.append((it.clock.time + left.pop(), request))
        return answer

    it.api.send = twice  # type: ignore[method-assign]
    return it


def moved(it: World) -> Callable[[timedelta], None]:
    """Start, let ten seconds go by and move the source; return what lets time go by."""
    daemon = it.daemon()
    go(it, daemon, 10 * SECOND, SECOND)
    it.heads["web"] = MOVED
    return lambda during: go(it, daemon, during, SECOND)


def takes_no_effect(record: Record) -> tuple[int, object]:
    """Answer a cancel as if it were one."""
    assert not record.shown.status.ended
    return 200, None


def ran(it: World) -> list[int]:
    return [r.shown.version for r in records(it) if not r.canceled]


def test_row_04_a_late_double_that_no_list_shows_is_waited_for() -> None:
    """A request may arrive again long after, and a list lag as long again: nothing runs beside."""
    it = slow(20 * SECOND, lag=45 * SECOND)
    overlaps = beside(it)
    moved(it)(3 * MINUTE)
    assert (overlaps, ran(it), states(it)) == ([], [1, 2, 3], {"web": State.READY})
    assert notes(it).count("arrived twice: both ran") == 1


def test_row_04_of_a_request_that_arrives_three_times_none_is_forgotten() -> None:
    """The second, which runs, is waited for while the third is cancelled; both are noted."""
    it = slow(SECOND, 2 * SECOND)
    overlaps = beside(it)
    moved(it)(3 * MINUTE)
    assert (overlaps, ran(it), states(it)) == ([], [1, 2, 4], {"web": State.READY})
    assert "version 2 is a request of ours that arrived twice: both ran" in notes(it)
    assert notes(it).count("version 3: a request that arrived twice made it too; it is cancelled")


def test_row_04_a_double_does_not_hide_what_others_changed_before_it() -> None:
    """Somebody's update between the two is told and waited for, and then the second is noted."""
    it = slow(8 * SECOND)
    daemon = it.daemon()
    go(it, daemon, 4 * SECOND, SECOND)
    others(it, Operation.UPDATE)
    overlaps = beside(it)
    go(it, daemon, 6 * SECOND, SECOND)
    it.heads["web"] = MOVED
    go(it, daemon, MINUTE, SECOND)
    assert (states(it), code(it)) == ({"web": State.WAITING}, ReasonCode.FOREIGN_RUNNING)
    assert it.disk["web"].foreign is not None
    go(it, daemon, 2 * MINUTE, SECOND)
    assert (overlaps, ran(it), states(it)) == ([], [1, 2, 4], {"web": State.READY})
    assert "update of me ended" in notes(it)
    assert notes(it).count("arrived twice") == 1


def test_row_04_a_double_that_begins_before_its_cancel_is_waited_for() -> None:
    """A cancel that comes too late ends it after a while: until then nothing starts."""
    it = slow(19 * SECOND)
    it.api.duration = 20 * SECOND
    cancel = it.api._cancel

    def too_late(record: Record) -> tuple[int, object]:
        if record.shown.status is not JobStatus.NOT_STARTED:
            return cancel(record)
        record.ends_at, record.outcome = it.clock.time + MINUTE, Outcome.FAIL
        it.api._show(record, JobStatus.RUNNING, StepStatus.RUNNING, it.clock.time)
        return 200, None

    it.api._cancel = too_late  # type: ignore[method-assign]
    daemon = it.daemon()
    go(it, daemon, 18 * SECOND, SECOND)
    others(it, Operation.PREVIEW)  # while it runs, the double is queued
    it.heads["web"] = MOVED
    overlaps = beside(it)
    go(it, daemon, 50 * SECOND, SECOND)
    assert (states(it), len(records(it))) == ({"web": State.WAITING}, 3)
    go(it, daemon, 2 * MINUTE, SECOND)
    assert (overlaps, len(records(it)), states(it)) == ([], 4, {"web": State.READY})
    assert "arrived twice: both ran" in notes(it)


@pytest.mark.parametrize("answer", [0, 409])
def test_row_04_a_cancel_that_shows_no_effect_is_not_sent_all_the_time(answer: int) -> None:
    """Whether it is taken or refused: it is sent again after half a minute, and no sooner."""
    it = slow(SECOND)
    daemon = it.daemon()
    go(it, daemon, 10 * SECOND, SECOND)
    it.api.paused.add(it.specs["web"].stack)
    it.api._cancel = takes_no_effect  # type: ignore[method-assign]
    it.api.refuses = lambda _, path: answer if path.endswith("/cancel") else 0
    sent = calls(it)
    it.heads["web"] = MOVED
    go(it, daemon, 5 * MINUTE, SECOND)
    assert 5 <= sum(call.endswith("/cancel") for call in sent) <= 10
    assert (states(it), len(records(it))) == ({"web": State.WAITING}, 2)


def test_row_12_a_preview_hides_no_change_of_others() -> None:
    """What somebody has changed stays told while others' previews run, and when they are over."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    others(it, Operation.UPDATE)
    go(it, daemon, 30 * SECOND)
    others(it, Operation.PREVIEW)  # both are new when they are looked at
    it.digests["web"] = "e" * 64
    daemon = it.daemon()
    go(it, daemon, 5 * SECOND)
    it.digests["web"] = "d" * 64
    for number in (3, 4):
        go(it, daemon, 3 * MINUTE)
        assert not ready(it.disk["web"])
        assert (code(it), len(records(it))) == (ReasonCode.FOREIGN_CHANGE, number)
        others(it, Operation.PREVIEW)
    assert operations(it)[:3] == ["update", "update", "preview"]


def test_row_12_what_others_changed_before_many_previews_is_told() -> None:
    """While nobody looked, somebody changed the stack, and then more came than a page shows."""
    it = world(spec("web"))
    assert it.daemon().run_once(LONG)
    it.api.duration = SECOND
    for operation in (Operation.UPDATE, *[Operation.PREVIEW] * 30):
        others(it, operation)
    for _ in range(40):
        it.clock.time += SECOND
        it.api.settle()
    go(it, it.daemon(), 3 * MINUTE)
    assert (code(it), it.api.creates) == (ReasonCode.FOREIGN_CHANGE, 32)
    assert it.disk["web"].last_version == 32


def test_row_12_a_queued_one_of_others_that_is_cancelled_hides_none_that_runs() -> None:
    """Of two of others' the first is waited for to its end, whatever became of the second."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    it.api.duration = 5 * MINUTE
    others(it, Operation.REFRESH)
    it.digests["web"] = "e" * 64
    go(it, daemon, MINUTE)
    second = others(it, Operation.UPDATE)
    it.client.cancel(it.specs["web"].stack, second.id)
    overlaps = beside(it)
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    assert (states(it), len(records(it))) == ({"web": State.WAITING}, 3)
    assert code(it) is ReasonCode.FOREIGN_RUNNING
    foreign = it.disk["web"].foreign
    assert foreign is not None
    assert foreign.version == 2
    go(it, daemon, 15 * MINUTE)
    assert (overlaps, len(records(it)), states(it)) == ([], 4, {"web": State.READY})


@pytest.mark.parametrize("doubled", [False, True])
def test_row_12_what_runs_while_a_person_adopts_is_waited_for(*, doubled: bool) -> None:
    """The stack is taken as it is, and what somebody asks for after that comes after what runs."""
    it = slow(*([SECOND] if doubled else []))
    daemon = it.daemon()
    go(it, daemon, MINUTE, SECOND)
    it.api.duration = 5 * MINUTE
    if not doubled:
        others(it, Operation.UPDATE)
    ask(it, RequestKind.ADOPT)
    go(it, daemon, 5 * SECOND, SECOND)
    ask(it, RequestKind.TRIGGER)
    overlaps = beside(it)
    go(it, daemon, 30 * SECOND, SECOND)
    assert (states(it), len(records(it))) == ({"web": State.WAITING}, 2)
    go(it, daemon, 15 * MINUTE)
    assert (overlaps, len(records(it)), states(it)) == ([], 3, {"web": State.READY})


def test_row_16_what_others_begin_a_stack_anew_with_is_waited_for() -> None:
    """After a destroy that took the history along, the first of others is seen as any other is."""
    it = world(spec("web", request=request(Operation.DESTROY)))
    assert it.daemon().run_once(LONG)
    daemon = it.daemon()
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, 5 * MINUTE)
    it.api.records.clear()
    it.api.duration = 5 * MINUTE
    others(it, Operation.UPDATE)
    ask(it, RequestKind.TRIGGER)
    overlaps = beside(it)
    go(it, daemon, 2 * MINUTE)
    assert (states(it), len(records(it))) == ({"web": State.WAITING}, 1)
    go(it, daemon, 15 * MINUTE)
    assert (overlaps, operations(it)) == ([], ["update", "destroy"])


def test_row_15_what_a_list_does_not_show_is_found_without_a_status() -> None:
    """With nothing remembered our own run is found by its number, and taken up."""
    it = world(spec("web"))
    it.api.knows_markers, it.api.lag, it.api.duration = False, 45 * SECOND, 5 * MINUTE
    go(it, it.daemon(), 5 * SECOND)
    it.disk.clear()
    go(it, it.daemon(), 10 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 1)


def test_row_29_a_stack_that_is_edited_and_edited_back_runs_once() -> None:
    """Nothing is remembered of it then, and no list shows it yet: it is found by its number."""
    it = world(spec("web"))
    it.api.knows_markers, it.api.lag, it.api.duration = False, 45 * SECOND, 5 * MINUTE
    daemon = it.daemon()
    go(it, daemon, 5 * SECOND)
    before = it.specs["web"]
    for one in (replace(before, stack=StackRef("acme", "wbe", "dev")), before):
        it.specs["web"] = one
        daemon.wake()
        go(it, daemon, 5 * SECOND)
    go(it, daemon, 10 * MINUTE)
    assert (states(it), len(records(it))) == ({"web": State.READY}, 1)
