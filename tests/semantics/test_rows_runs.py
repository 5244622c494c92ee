"""Rows 1 to 17, 24 and 25: one deployment from its intent to its end, and what others do."""

from __future__ import annotations

import errno
import os
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from reconciler.adapters.status_form import parse
from reconciler.adapters.statusfile import StatusFiles
from reconciler.api.client import ApiClient
from reconciler.api.types import EndingKind, JobStatus, Operation, Secret, StackRef
from reconciler.breaker import Breaker
from reconciler.executor import Executor, Job, Tools
from reconciler.model import (
    Conclude,
    ReasonCode,
    RequestKind,
    Response,
    Retry,
    State,
    Status,
    Submit,
    WhileRunning,
)
from reconciler.planning import transitions
from tests.factories import (
    NOW,
    attempt,
    cause,
    deployment,
    desired,
    observed,
    request,
    run,
    spec,
    status,
    trigger,
)
from tests.fakes.deployments_api import TOKEN, Fault, Outcome
from tests.fakes.losing_disk import LosingDisk
from tests.fakes.world import Lookups, RequestFiles, World
from tests.semantics.scene import (
    DAY,
    HOUR,
    LONG,
    MINUTE,
    SECOND,
    ask,
    calls,
    code,
    every,
    go,
    notes,
    operations,
    others,
    posts,
    ready,
    records,
    states,
    world,
)

CHANGED = "e" * 64
OTHER_OWNER = "RECONCILER_RUN_other_r9_dddddddd"


def test_row_01_no_create_before_its_intent_is_durable() -> None:
    """What is asked for is on the disk before it is sent; without room nothing is sent."""
    it = world(spec("web"))
    it.disk_fails = lambda: True
    sent = posts(it)
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    assert sent == []
    known: list[str] = []

    def look(method: str, path: str) -> Fault:
        intent = it.disk["web"].intent if method == "POST" and path else None
        known.extend([intent.marker] if intent else [])
        return Fault.NONE

    it.disk_fails, it.api.faults = (lambda: False), look
    assert daemon.run_once(LONG)
    assert known == [record.shown.marker for record in records(it)]
    assert len(known) == 1


def test_row_01_an_intent_outlives_a_power_cut(tmp_path: Path) -> None:
    """When a create is sent its intent is on the disk, whatever of it was not synced is lost."""
    it = world(spec("web"))
    specs = tmp_path / "specs"
    specs.mkdir()
    files = StatusFiles(specs, None, tmp_path / "copies")
    tools = Tools(
        breaker=Breaker(it.source, it.clock),
        statuses=files,
        requests=RequestFiles(it),
        resolver=Lookups(it),
        clock=it.clock,
        owner="owner",
        new_run_id=it.new_run_id,
    )
    found: list[bytes | None] = []
    with LosingDisk(tmp_path) as disk:

        def look(method: str, _: str) -> Fault:
            found.extend(disk.may_hold(files.path("web")) if method == "POST" else ())
            return Fault.NONE

        it.api.faults = look
        job = Job(desired=desired(it.specs["web"]), observed=observed())
        submit = Submit(cause=cause(), operation=Operation.UPDATE)
        Executor(tools).carry_out(submit, job, files.read("web"))
    (content,) = found
    assert content
    intent = parse(content).intent
    assert intent is not None
    assert intent.marker == records(it)[0].shown.marker


@pytest.mark.parametrize("knows_markers", [True, False])
@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.SERVER_ERROR])
def test_row_02_a_create_without_an_answer_is_looked_for(
    fault: Fault, *, knows_markers: bool
) -> None:
    """An unanswered create is looked for by its marker, and sent again only after 30 s."""
    it = world(spec("web"))
    it.api.knows_markers = knows_markers
    others(it, Operation.PREVIEW)
    ask(it, RequestKind.TRIGGER)
    it.clock.time += MINUTE
    answers = [fault]

    def once(method: str, path: str) -> Fault:
        create = method == "POST" and path.endswith("/deployments")
        return answers.pop() if create and answers else Fault.NONE

    it.api.faults = once
    sent = posts(it)
    it.run_once()
    assert states(it) == {"web": State.READY}
    assert len(records(it)) == 2, "the other's preview, and one of ours"
    assert len({s.intent.run_id for s in it.journal if s.intent}) == 1
    if fault is Fault.LOST_AFTER:
        assert len(sent) == 1
    else:
        assert sent[1] - sent[0] >= 30 * SECOND


@pytest.mark.parametrize("hours", [-3, 1])
def test_row_02_a_clock_that_is_set_ends_no_wait(hours: int) -> None:
    """A create that is on its way is waited for by time that passes, not by the clock's."""
    it = world(spec("web"))
    it.api.late_by = lambda: 25 * SECOND
    answers = [Fault.LATE]

    def once(method: str, path: str) -> Fault:
        create = method == "POST" and path.endswith("/deployments")
        return answers.pop() if create and answers else Fault.NONE

    it.api.faults, begun = once, it.clock.time
    it.api.now = lambda: begun + it.clock.running()
    daemon = it.daemon()
    daemon.tick()
    it.clock.set_ahead(hours * HOUR)
    go(it, daemon, 2 * MINUTE)
    assert (states(it), len(records(it))) == ({"web": State.READY}, 1)


@pytest.mark.parametrize("creates", [0, 1])
def test_row_02_a_crash_around_a_create_makes_no_second_one(creates: int) -> None:
    """Killed before or after a create, a new process finds out which before it sends any."""
    it = world(spec("web"))
    it.api.knows_markers = False
    crashes = [1]

    def crash(where: str) -> bool:
        begun = "web" in it.disk and it.disk["web"].intent is not None
        here = begun and it.api.creates == creates and where in {"call", "before a write"}
        return bool(here and crashes and crashes.pop())

    it.crash_at = crash
    it.run_once()
    assert not crashes
    assert (states(it), it.api.creates) == ({"web": State.READY}, 1)


def test_row_03_what_was_acknowledged_and_is_not_visible_is_late() -> None:
    """A run the API does not show yet is waited for; after ten minutes it counts as lost there."""
    for hidden, state in ((8 * MINUTE, State.READY), (DAY, State.STALLED)):
        it = world(spec("web"))
        daemon = it.daemon()
        daemon.tick()
        shown_at = it.clock.time + hidden

        def hide(method: str, path: str, it: World = it, at: datetime = shown_at) -> int:
            one = method == "GET" and "/deployments/" in path
            return 404 if one and it.clock.time < at else 0

        it.api.refuses = hide
        go(it, daemon, 7 * MINUTE)
        assert (states(it), code(it)) == ({"web": State.PROGRESSING}, ReasonCode.NOT_YET_VISIBLE)
        go(it, daemon, 10 * MINUTE)
        assert (states(it), it.api.creates) == ({"web": state}, 1)
    assert code(it) is ReasonCode.HISTORY_LOST


def test_row_03_a_clock_that_is_set_loses_no_run() -> None:
    """What is not visible yet is waited for by time that passes, not by the clock's."""
    it = world(spec("web"))
    it.api.duration, begun = 5 * MINUTE, it.clock.time
    it.api.now = lambda: begun + it.clock.running()
    hidden = 30 * SECOND

    def hide(method: str, path: str) -> int:
        one = method == "GET" and "/deployments/" in path
        return 404 if one and it.clock.running() < hidden else 0

    it.api.refuses = hide
    daemon = it.daemon()
    daemon.tick()
    it.clock.time += 5 * SECOND
    daemon.tick()
    it.clock.set_ahead(HOUR)
    it.heads["web"] = "c" * 40
    go(it, daemon, MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.PROGRESSING}, 1)
    go(it, daemon, 10 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 2)


def test_row_03_what_is_lost_is_told_though_no_process_lives_for_long() -> None:
    """Cron's processes find together what each alone would wait for; a moment is not enough."""
    it = world(spec("web"))
    it.daemon().tick()
    it.api.refuses = lambda method, path: 404 if method == "GET" and "/deployments/" in path else 0
    for state in (State.PROGRESSING, State.STALLED):
        go(it, it.daemon(), 4 * MINUTE)
        it.clock.time += 5 * MINUTE
        assert states(it) == {"web": state}
    it.clock.time += HOUR
    ask(it, RequestKind.TRIGGER)
    go(it, it.daemon(), MINUTE)
    it.clock.time += HOUR
    go(it, it.daemon(), 2 * MINUTE)
    assert (code(it), it.api.creates) == (ReasonCode.NOT_YET_VISIBLE, 2)


@pytest.mark.parametrize("missed", [SECOND, DAY])
def test_row_03_what_was_seen_and_is_not_is_waited_for(missed: timedelta) -> None:
    """A scheduled run that is not shown once still runs; lost, it needs a person as any does."""
    it = world(spec("web", schedules=(every("0 13 * * *"),)))
    it.api.duration = SECOND
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    it.api.duration = 30 * MINUTE
    it.clock.time = NOW + HOUR
    go(it, daemon, 12 * MINUTE)
    assert operations(it) == ["update", "refresh"]
    until = it.clock.time + missed

    def hide(method: str, path: str) -> int:
        one = method == "GET" and "/deployments/" in path
        return 404 if one and it.clock.time < until else 0

    it.api.refuses = hide
    go(it, daemon, 5 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.PROGRESSING}, 2)
    go(it, daemon, 25 * MINUTE)
    lost = missed == DAY
    assert states(it) == {"web": State.STALLED if lost else State.READY}
    assert it.api.creates == 2


@pytest.mark.parametrize("knows_markers", [True, False])
def test_row_04_a_doubled_request_runs_once(*, knows_markers: bool) -> None:
    """A request that arrives twice makes one deployment, or its queued second is cancelled."""
    it = world(spec("web"))
    it.api.knows_markers = knows_markers
    it.api.duration = 5 * MINUTE
    it.api.faults = lambda method, path: (
        Fault.DOUBLED if method == "POST" and path.endswith("/deployments") else Fault.NONE
    )
    daemon = it.daemon()
    go(it, daemon, 15 * MINUTE)
    assert states(it) == {"web": State.READY}
    ran = [r for r in records(it) if not r.canceled]
    assert [r.shown.status for r in ran] == [JobStatus.SUCCEEDED]
    assert len(records(it)) == (1 if knows_markers else 2)
    assert ("twice" in notes(it)) is not knows_markers


@pytest.mark.parametrize("answer", [400, 402, 413, 422])
def test_row_05_a_refused_request_is_not_repeated(answer: int) -> None:
    """A request that the API refuses as such waits, with its words, for a change."""
    it = world(spec("web"))
    sent = posts(it)
    it.api.refuses = lambda method, _: answer if method == "POST" else 0
    daemon = it.daemon()
    go(it, daemon, LONG, MINUTE)
    assert len(sent) == 1
    assert (states(it), code(it)) == ({"web": State.FAILED}, ReasonCode.REFUSED)
    reason = it.disk["web"].reason
    assert reason is not None
    assert f"({answer}): not like this" in reason.message
    it.api.refuses = lambda _, __: 0
    it.digests["web"] = CHANGED
    go(it, daemon, 2 * MINUTE)
    assert (states(it), len(sent)) == ({"web": State.READY}, 2)


def test_row_06_a_refused_token_stops_all_calls_but_a_probe() -> None:
    """With a token that is refused, one call a minute asks on, and what runs is not run again."""
    it = world(spec("a"), spec("b"))
    tokens = [TOKEN]
    it.client = ApiClient("http://localhost", lambda: Secret(tokens[-1]), session=it.session)
    it.api.duration = 2 * MINUTE
    daemon = it.daemon()
    daemon.tick()
    tokens.append("revoked")
    calls: list[str] = []

    def count(method: str, _: str) -> Fault:
        calls.append(method)
        return Fault.NONE

    it.api.faults = count
    it.digests["a"] = CHANGED
    go(it, daemon, 10 * MINUTE)
    assert 5 <= len(calls) <= 12
    assert set(states(it).values()) == {State.UNKNOWN}
    assert code(it, "a") is ReasonCode.ACCESS_DENIED
    assert it.disk["b"].run is not None
    tokens.append(TOKEN)
    go(it, daemon, 10 * MINUTE)
    assert set(states(it).values()) == {State.READY}
    assert (len(records(it, "a")), len(records(it, "b"))) == (2, 1)


@pytest.mark.parametrize("answer", [403, 404])
def test_row_06_a_refused_stack_stops_alone(answer: int) -> None:
    """Where one stack is refused, the others go on, and it is asked for once a minute."""
    it = world(spec("a"), spec("b"))
    tried: list[str] = []

    def refuse(method: str, path: str) -> int:
        if "/a/" not in path:
            return 0
        tried.append(method)
        return answer

    it.api.refuses = refuse
    daemon = it.daemon()
    go(it, daemon, 10 * MINUTE)
    assert states(it)["b"] is State.READY
    assert it.disk["a"].state is State.UNKNOWN
    assert code(it, "a") is ReasonCode.ACCESS_DENIED
    # A stack that is not there has no history, so then it is the create that is refused.
    probes = tried.count("POST" if answer == 404 else "GET")
    assert 5 <= probes <= 12
    assert records(it, "a") == []
    it.api.refuses = lambda _, __: 0
    go(it, daemon, 3 * MINUTE)
    assert set(states(it).values()) == {State.READY}


@pytest.mark.parametrize("fault", [Fault.TOO_MANY, Fault.SERVER_ERROR, Fault.LOST_BEFORE])
def test_row_07_an_api_that_is_down_is_left_alone(fault: Fault) -> None:
    """An API that cannot answer is asked seldom, for all stacks together; nothing has failed."""
    it = world(*(spec(f"s{i:02}") for i in range(20)))
    calls: list[datetime] = []

    def down(_: str, __: str) -> Fault:
        calls.append(it.clock.time)
        return fault

    it.api.faults = down
    daemon = it.daemon()
    go(it, daemon, 5 * MINUTE, SECOND)
    assert len(calls) <= 30, "not twenty stacks' calls each second"
    if fault is Fault.TOO_MANY:
        waits = [b - a for a, b in pairwise(calls)]
        assert min(waits) >= 3 * SECOND, "what Retry-After says"
    assert set(states(it).values()) == {State.UNKNOWN}
    assert {s.failures for s in it.disk.values()} == {0}
    it.api.faults = lambda _, __: Fault.NONE
    go(it, daemon, 5 * MINUTE)
    assert set(states(it).values()) == {State.READY}
    assert it.api.creates == 20


def test_row_08_failures_are_retried_up_to_a_limit() -> None:
    """A failed run is tried again with growing waits; a change, or a person, counts anew."""
    it = world(spec("web"))
    it.api.outcome = lambda _: Outcome.FAIL
    sent = posts(it)
    daemon = it.daemon()
    go(it, daemon, HOUR)
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.RETRIES_EXHAUSTED)
    assert len(sent) == 3
    waits = [b - a for a, b in pairwise(sent)]
    assert waits[0] >= 30 * SECOND
    assert waits[1] >= 60 * SECOND
    it.digests["web"] = CHANGED
    changed_at = it.clock.time
    go(it, daemon, 90 * SECOND)
    assert sent[3] - changed_at <= 61 * SECOND
    assert it.disk["web"].failures == 1
    go(it, daemon, HOUR)
    assert len(sent) == 6
    ask(it, RequestKind.TRIGGER)
    it.api.outcome = lambda _: Outcome.SUCCEED
    go(it, daemon, MINUTE)
    assert states(it) == {"web": State.READY}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("way", ["the API is busy", "a run fails"])
def test_row_08_a_clock_that_was_ahead_holds_nothing_for_a_year(
    way: str, *, restarted: bool
) -> None:
    """A wait that was written down by a clock a year ahead is over when that is set right."""
    it = world(spec("web"))
    it.api.now = lambda: NOW + it.clock.running()
    it.clock.set_ahead(365 * DAY)
    once = [1]
    if way == "a run fails":
        it.api.outcome = lambda _: Outcome.FAIL if once and once.pop() else Outcome.SUCCEED
    else:
        it.api.faults = lambda method, _: (
            Fault.TOO_MANY if method == "POST" and once and once.pop() else Fault.NONE
        )
    daemon = it.daemon()
    while it.disk.get("web", Status(name="web")).next_attempt is None:
        daemon.tick()
        it.clock.time += SECOND
    it.clock.set_ahead(-365 * DAY)
    daemon = it.daemon() if restarted else daemon
    go(it, daemon, 12 * MINUTE)
    assert states(it) == {"web": State.READY}


def test_row_08_a_run_lost_before_its_operation_is_retried() -> None:
    """What ended before Pulumi began has done nothing, so it is tried again by itself."""
    lost = deployment(JobStatus.FAILED, failed_step="Get source", ending=EndingKind.LOST)
    begun = status(run=run(), attempt=attempt())
    after = transitions.concluded(begun, Conclude(deployment=lost), Retry(), NOW)
    assert after.stalled is None
    assert after.next_attempt == NOW + 30 * SECOND


@pytest.mark.parametrize("way", ["by us", "elsewhere", "timeout", "log"])
def test_row_09_canceled_and_timed_out_need_a_person(way: str) -> None:
    """A run that somebody cancelled, or that took too long, is not tried again by itself."""
    it = world(spec("web", timeout=10 * MINUTE))
    it.api.duration = HOUR if way != "log" else MINUTE
    daemon = it.daemon()
    go(it, daemon, 10 * SECOND)
    if way == "by us":
        ask(it, RequestKind.CANCEL)
    elif way == "elsewhere":
        it.client.cancel(it.specs["web"].stack, records(it)[0].shown.id)
    elif way == "log":
        records(it)[0].outcome = Outcome.FAIL
        it.api.log = lambda _: ("error: update canceled",)
    go(it, daemon, HOUR)
    expected = ReasonCode.TIMED_OUT if way == "timeout" else ReasonCode.CANCELED
    assert (states(it), code(it)) == ({"web": State.STALLED}, expected)
    go(it, daemon, LONG, MINUTE)
    assert it.api.creates == 1
    it.api.duration = MINUTE
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, 5 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 2)


@pytest.mark.parametrize("seen", [0, 1, 60])
def test_row_09_a_clock_that_is_set_ahead_cancels_nothing(seen: int) -> None:
    """A run's time is counted by time that passes, from when it was first seen to run."""
    it = world(spec("web", timeout=10 * MINUTE))
    it.api.duration, begun = 5 * MINUTE, it.clock.time
    it.api.now = lambda: begun + it.clock.running()
    daemon = it.daemon()
    go(it, daemon, seen * SECOND, SECOND)
    it.clock.set_ahead(2 * HOUR)
    go(it, daemon, 10 * MINUTE)
    assert states(it) == {"web": State.READY}
    it.api.duration = HOUR
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, 12 * MINUTE)
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.TIMED_OUT)


def test_row_09_without_evidence_a_failure_is_a_failure() -> None:
    """A failed run whose log tells of no cancel is retried as any other."""
    it = world(spec("web"))
    it.api.outcome = lambda record: Outcome.FAIL if record.number == 1 else Outcome.SUCCEED
    it.api.log = lambda _: ("error: the update was refused",)
    it.run_once()
    assert (states(it), it.api.creates) == ({"web": State.READY}, 2)


LOCKED = (
    "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es)",
    "  file:///locks/x.json: created by bob@host (pid 7) at 2026-03-02T11:00:00Z",
)


def test_row_10_a_locked_stack_is_tried_again_and_given_up_after_a_day() -> None:
    """Somebody's lock is waited for at growing distances, spends no retries, and ends in a day."""
    it = world(spec("web"))
    it.api.outcome = lambda _: Outcome.FAIL
    it.api.log = lambda _: LOCKED
    sent = posts(it)
    daemon = it.daemon()
    go(it, daemon, 2 * HOUR, 10 * SECOND)
    assert (states(it), code(it)) == ({"web": State.WAITING}, ReasonCode.LOCKED)
    minutes = [round((b - a) / MINUTE) for a, b in pairwise(sent)]
    assert minutes[0] <= 2
    assert minutes == sorted(minutes)
    assert minutes[-1] in {30, 31}
    assert it.disk["web"].failures == 0
    reason = it.disk["web"].reason
    assert reason is not None
    assert "bob@host" in reason.message
    go(it, daemon, DAY, MINUTE)
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.LOCKED)
    it.api.outcome = lambda _: Outcome.SUCCEED
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, 5 * MINUTE)
    assert states(it) == {"web": State.READY}


def test_row_11_an_interrupted_operation_waits_for_a_person() -> None:
    """A run cut off while Pulumi worked never goes on by itself, and says what to look at."""
    it = world(spec("web"))
    it.api.outcome = lambda _: Outcome.INTERRUPT
    daemon = it.daemon()
    go(it, daemon, LONG, 10 * SECOND)
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.INTERRUPTED)
    assert it.api.creates == 1
    reason = it.disk["web"].reason
    assert reason is not None
    assert "pending operations" in reason.message
    it.api.outcome = lambda _: Outcome.SUCCEED
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, 5 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 2)


def test_row_12_others_are_waited_for_and_never_cancelled() -> None:
    """Nothing of ours starts while somebody else's deployment of the stack is not over."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    it.api.duration = 10 * MINUTE
    others(it, Operation.PREVIEW)
    it.digests["web"] = CHANGED
    go(it, daemon, 5 * MINUTE)
    assert (states(it), code(it)) == ({"web": State.WAITING}, ReasonCode.FOREIGN_RUNNING)
    assert len(records(it)) == 2
    go(it, daemon, 20 * MINUTE)
    theirs, ours = records(it)[1:]
    assert not theirs.canceled
    assert theirs.shown.status is JobStatus.SUCCEEDED
    assert ours.shown.created >= theirs.shown.modified
    assert states(it) == {"web": State.READY}


def test_row_12_two_of_others_that_change_nothing_hold_nothing_up() -> None:
    """Both previews end while nobody looks: neither is told of for ever, and the change runs."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    it.api.duration = 3 * MINUTE
    others(it, Operation.PREVIEW)
    it.digests["web"] = CHANGED
    go(it, daemon, MINUTE)
    assert (states(it), code(it)) == ({"web": State.WAITING}, ReasonCode.FOREIGN_RUNNING)
    it.api.duration = timedelta(0)
    others(it, Operation.PREVIEW)
    it.clock.time += 10 * MINUTE  # the daemon is not asked in between
    go(it, daemon, 5 * MINUTE)
    assert states(it) == {"web": State.READY}
    assert operations(it) == ["update", "preview", "preview", "update"]


@pytest.mark.parametrize("theirs", [Operation.UPDATE, Operation.REFRESH, Operation.DESTROY])
@pytest.mark.parametrize("on_foreign", list(Response))
def test_row_12_what_others_changed_is_told_or_brought_back(
    theirs: Operation, on_foreign: Response
) -> None:
    """After somebody else's change a spec is not ready, until a person or the spec says so."""
    it = world(spec("web", on_foreign=on_foreign))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    others(it, Operation.PREVIEW)
    go(it, daemon, 5 * MINUTE)
    assert ready(it.disk["web"])
    others(it, theirs)
    go(it, daemon, 5 * MINUTE)
    if on_foreign is Response.REPORT:
        assert not ready(it.disk["web"])
        assert code(it) is ReasonCode.FOREIGN_CHANGE
        reason = it.disk["web"].reason
        assert reason is not None
        assert "changed by me" in reason.message
        assert operations(it) == ["update", "preview", str(theirs)]
        ask(it, RequestKind.TRIGGER)
        go(it, daemon, 5 * MINUTE)
    assert operations(it) == ["update", "preview", str(theirs), "update"]
    assert ready(it.disk["web"])


def test_row_13_another_owner_is_a_conflict_until_adopted() -> None:
    """A newer deployment that carries another owner's marker stops ours until `adopt`."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    others(it, Operation.UPDATE, marker=OTHER_OWNER)
    go(it, daemon, 5 * MINUTE)
    assert (states(it), code(it)) == ({"web": State.CONFLICT}, ReasonCode.CONFLICT)
    it.digests["web"] = CHANGED
    ask(it, RequestKind.TRIGGER)
    go(it, daemon, HOUR, MINUTE)
    assert len(records(it)) == 2
    it.requests.clear()
    ask(it, RequestKind.ADOPT)
    go(it, daemon, 5 * MINUTE)
    assert states(it) == {"web": State.READY}
    assert len(records(it)) == 2, "adopted as it is"
    it.digests["web"] = "f" * 64
    go(it, daemon, 5 * MINUTE)
    assert (states(it), len(records(it))) == ({"web": State.READY}, 3)


def test_row_14_a_paused_stack_waits_and_says_so() -> None:
    """While deployments of a stack are paused at the API, it waits; after that it goes on."""
    it = world(spec("web"))
    it.api.paused.add(it.specs["web"].stack)
    daemon = it.daemon()
    go(it, daemon, HOUR)
    assert (states(it), code(it), it.api.creates) == ({"web": State.WAITING}, ReasonCode.PAUSED, 1)
    it.api.paused.clear()
    go(it, daemon, 5 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 1)


def test_row_14_a_skipped_run_is_asked_for_again() -> None:
    """What the API skipped is asked for again while it is wanted, and is no failure."""
    it = world(spec("web"))
    it.api.paused.add(it.specs["web"].stack)
    daemon = it.daemon()
    daemon.tick()
    (record,) = records(it)
    record.shown = replace(record.shown, status=JobStatus.SKIPPED)
    it.api.paused.clear()
    go(it, daemon, 5 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 2)
    assert it.disk["web"].failures == 0


def test_row_15_a_lost_status_is_found_by_its_marker_or_needs_a_person() -> None:
    """Without a status what carries our marker and digest is taken; else a person adopts."""
    it = world(spec("web"))
    it.run_once()
    it.disk.clear()
    it.run_once()
    assert (states(it), it.api.creates) == ({"web": State.READY}, 1)
    it.disk.clear()
    it.digests["web"] = CHANGED
    daemon = it.daemon()
    go(it, daemon, HOUR, MINUTE)
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.HISTORY_UNKNOWN)
    assert it.api.creates == 1
    ask(it, RequestKind.ADOPT)
    go(it, daemon, 5 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 1)


def test_row_15_what_was_pushed_since_is_a_change() -> None:
    """What is taken up was run at the commit the API tells; a newer one is deployed."""
    it = world(spec("web"))
    it.run_once()
    it.disk.clear()
    it.heads["web"] = "c" * 40
    go(it, it.daemon(), 5 * MINUTE)
    assert states(it) == {"web": State.READY}
    assert [r.request.source.commit for r in records(it)] == ["a" * 40, "c" * 40]


def test_row_15_two_that_swap_their_stacks_deploy_both() -> None:
    """The same request of another commit is not what is wanted, whoever's marker it has."""
    it = world(spec("a"), spec("b"))
    it.heads.update(a="1" * 40, b="2" * 40)
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    stacks = {name: one.stack for name, one in it.specs.items()}
    for name, other in ("ab", "ba"):
        it.specs[name] = replace(it.specs[name], stack=stacks[other])
    daemon.wake()
    go(it, daemon, 5 * MINUTE)
    assert set(states(it).values()) == {State.READY}
    assert [r.request.source.commit[0] for n in "ab" for r in records(it, n)] == list("1221")


@pytest.mark.parametrize(
    ("operation", "needs_approval"),
    [(Operation.UPDATE, False), (Operation.REFRESH, False), (Operation.PREVIEW, True)],
)
def test_row_15_only_what_did_what_is_wanted_is_taken_up(
    operation: Operation, *, needs_approval: bool
) -> None:
    """A failed change, a refresh after it or a preview of the same request need a person."""
    it = world(spec("web", needs_approval=needs_approval, retry=Retry(limit=0)))
    it.api.outcome = lambda r: (
        Outcome.FAIL if r.request.operation is Operation.UPDATE else Outcome.SUCCEED
    )
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    if operation is Operation.REFRESH:
        it.requests["q1"] = trigger(operation)
        go(it, daemon, MINUTE)
    assert operations(it)[-1] == operation
    it.disk.clear()
    go(it, it.daemon(), 5 * MINUTE)
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.HISTORY_UNKNOWN)


@pytest.mark.parametrize("looked", [Operation.DETECT_DRIFT, Operation.REFRESH])
def test_row_15_what_only_looked_since_does_not_count(looked: Operation) -> None:
    """What our runs looked at after our update leaves it what is wanted, once all has ended."""
    it = world(spec("web"))
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    it.requests["q1"] = trigger(looked)
    go(it, daemon, MINUTE)
    it.disk.clear()
    others(it, Operation.PREVIEW)
    daemon = it.daemon()
    daemon.tick()
    assert (states(it), code(it)) == ({"web": State.WAITING}, ReasonCode.FOREIGN_RUNNING)
    go(it, daemon, 5 * MINUTE)
    assert (states(it), it.api.creates) == ({"web": State.READY}, 3)
    assert it.disk["web"].applied == 1


@pytest.mark.parametrize("marker", ["MANUAL", OTHER_OWNER])
def test_row_15_what_others_changed_since_is_not_taken_for_ours(marker: str) -> None:
    """After our own somebody else's needs a person, and another owner's is a conflict."""
    it = world(spec("web"))
    go(it, it.daemon(), MINUTE)
    others(it, Operation.UPDATE, marker=marker)
    it.clock.time += MINUTE
    it.disk.clear()
    daemon = it.daemon()
    go(it, daemon, 5 * MINUTE)
    it.heads["web"] = "c" * 40
    daemon.mark({"web"})
    go(it, daemon, 5 * MINUTE)
    assert it.api.creates == 2
    expected = ReasonCode.HISTORY_UNKNOWN if marker == "MANUAL" else ReasonCode.CONFLICT
    assert code(it) is expected


def test_row_15_the_copy_in_the_state_directory_is_enough(tmp_path: Path) -> None:
    """A status file that is gone comes back from its copy."""
    specs, copies = tmp_path / "specs", tmp_path / "copies"
    specs.mkdir()
    written = StatusFiles(specs, None, copies).write(status(failures=2))
    (specs / "web.status.json").unlink()
    assert StatusFiles(specs, None, copies).read("web") == written


def test_row_16_an_api_that_has_lost_data_needs_a_person() -> None:
    """Where the API knows fewer deployments than we do, nothing starts until `adopt`."""
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    it.api.records.clear()
    it.digests["web"] = CHANGED
    go(it, daemon, HOUR, MINUTE)
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.HISTORY_LOST)
    assert records(it) == []
    ask(it, RequestKind.ADOPT)
    go(it, daemon, 5 * MINUTE)
    assert states(it) == {"web": State.READY}


@pytest.mark.parametrize("way", ["all of it", "one stack", "what came after a backup"])
def test_row_16_what_is_lost_is_noticed_though_nothing_starts(way: str) -> None:
    """What the API has lost is seen at the next look at its list, and stays told until `adopt`."""
    it = world(*(spec(f"s{i:02}") for i in range(1 if way == "all of it" else 40)))
    it.api.duration = SECOND
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    newest = max(it.specs, key=lambda name: records(it, name)[-1].number)
    asked = calls(it)
    go(it, daemon, HOUR, 10 * SECOND)
    assert len(asked) <= 60, "a list a minute, while nothing is lost"
    if way == "what came after a backup":
        ask(it, RequestKind.TRIGGER, newest)
        go(it, daemon, 5 * MINUTE)
        records(it, newest).pop()
        others(it, Operation.PREVIEW, name="alien")
    else:
        it.api.records.pop(it.specs[newest].stack)
    creates = it.api.creates
    go(it, daemon, 2 * MINUTE)
    assert code(it, newest) is ReasonCode.HISTORY_LOST
    asked.clear()
    go(it, daemon, HOUR, 10 * SECOND)
    assert len(asked) <= 60 * 3, "and two calls of the stack itself"
    told = Counter(states(it).values())
    assert (told.pop(State.STALLED), set(told) <= {State.READY}) == (1, True)
    again = it.daemon()
    go(it, again, 2 * MINUTE)
    assert code(it, newest) is ReasonCode.HISTORY_LOST
    ask(it, RequestKind.ADOPT, newest)
    go(it, again, 5 * MINUTE)
    assert set(states(it).values()) == {State.READY}
    assert it.api.creates == creates


def test_row_16_a_list_that_leaves_something_out_is_not_believed() -> None:
    """A stack that is there and not in the list is looked at once an hour, and stays Ready.

    A look is three calls: its list, the number that is known, and the one after it.
    """
    it = world(spec("web"))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    records(it)[0].visible_at = it.clock.time + DAY
    asked = calls(it)
    go(it, daemon, 5 * HOUR, 10 * SECOND)
    assert states(it) == {"web": State.READY}
    assert len(asked) <= 5 * 60 + 3 * 6


def test_row_16_after_a_wanted_destroy_nothing_is_missed() -> None:
    """A stack that is gone because the spec wanted it destroyed is as it should be."""
    it = world(spec("web", request=request(Operation.DESTROY)))
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    it.api.records.clear()
    go(it, daemon, HOUR, MINUTE)
    assert (states(it), code(it)) == ({"web": State.READY}, ReasonCode.DESTROYED)
    assert records(it) == []


@pytest.mark.parametrize("damage", ["torn", "edited"])
def test_row_17_a_damaged_status_is_set_aside(damage: str, tmp_path: Path) -> None:
    """A status file that was torn or edited is kept aside and not believed."""
    specs, copies = tmp_path / "specs", tmp_path / "copies"
    specs.mkdir()
    written = StatusFiles(specs, None, copies).write(status(failures=2))
    for folder in (specs, copies):
        path = folder / "web.status.json"
        text = path.read_text()
        path.write_text(
            text[:40] if damage == "torn" else text.replace('"failures": 2', '"failures": 0')
        )
        assert path.read_text() != text
        expected = written if folder == specs else Status(name="web")
        assert StatusFiles(specs, None, copies).read("web") == expected
        if folder == specs:
            assert StatusFiles(specs, None, copies).write(written).generation == 2
            assert path.with_name("web.status.json.corrupt-1").exists()
            break
    for folder in (specs, copies):
        (folder / "web.status.json").write_text("{")
    assert StatusFiles(specs, None, copies).read("web") == Status(name="web")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def on_a_disk(it: World, tmp_path: Path) -> StatusFiles:
    """Keep what this world remembers in real files."""
    (tmp_path / "specs").mkdir(exist_ok=True)
    files = StatusFiles(tmp_path / "specs", None, tmp_path / "copies")
    it.tell = lambda _: files
    return files


def test_row_17_an_intent_that_cannot_be_read_now_is_not_forgotten(tmp_path: Path) -> None:
    """Where descriptors run out as a create is answered, it is found again, and runs once."""
    it = world(spec("web"))
    it.api.knows_markers, it.api.lag, it.api.duration = False, 45 * SECOND, 5 * MINUTE
    files = on_a_disk(it, tmp_path)
    daemon = it.daemon()
    with ExitStack() as stack:

        def run_out(method: str, path: str) -> Fault:
            if method == "POST" and path.endswith("/deployments") and not it.api.creates:
                stack.enter_context(no_descriptor_left())
            return Fault.NONE

        it.api.faults = run_out
        daemon.tick()
        it.clock.time += 15 * SECOND
        daemon.tick()
        standing = daemon.standings()["web"].plan
        assert (standing.state, standing.verdict.code) == (State.UNKNOWN, ReasonCode.NOT_DURABLE)
        assert "Too many open files" in standing.verdict.message
    assert sorted(tmp_path.rglob("*.corrupt-*")) == []
    assert files.read("web").intent is not None
    go(it, daemon, 20 * MINUTE)
    assert daemon.standings()["web"].plan.state is State.READY
    assert operations(it) == ["update"]
    assert "found again" in files.read("web").history[0].text


def test_row_17_an_intent_whose_files_are_gone_is_not_forgotten(tmp_path: Path) -> None:
    """Where disk and files go away as a create is answered, it waits for them, and runs once."""
    it = world(spec("web"))
    it.api.knows_markers, it.api.lag = False, 45 * SECOND
    files = on_a_disk(it, tmp_path)

    def unmount(method: str, path: str) -> Fault:
        if method == "POST" and path.endswith("/deployments") and not it.api.creates:
            for folder in (tmp_path / "specs", tmp_path / "copies"):
                folder.rename(tmp_path / f"{folder.name}-away")
                folder.touch()
        return Fault.NONE

    it.api.faults = unmount
    daemon = it.daemon()
    go(it, daemon, 2 * MINUTE)
    standing = daemon.standings()["web"].plan
    assert (standing.state, standing.verdict.code) == (State.UNKNOWN, ReasonCode.NOT_DURABLE)
    assert "bring them back" in standing.verdict.message
    for folder in (tmp_path / "specs", tmp_path / "copies"):
        folder.unlink()
        (tmp_path / f"{folder.name}-away").rename(folder)
    go(it, daemon, 5 * MINUTE)
    assert operations(it) == ["update"]
    assert files.read("web").state is State.READY


def test_row_17_files_of_another_user_hold_their_stack_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the daemon may not read at its start holds that stack, and is told; others go on."""
    it = world(spec("web"), spec("other"), spec("third", stack=StackRef("acme", "web", "dev")))
    it.specs.pop("third")
    on_a_disk(it, tmp_path)
    daemon = it.daemon()
    assert daemon.run_once(LONG)
    it.digests = dict.fromkeys(it.specs, CHANGED)
    it.specs["third"] = spec("third", stack=it.specs["web"].stack)
    files = on_a_disk(it, tmp_path)
    before = files.read("web")
    opens = os.open

    def fail(path: str, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith("web.status.json"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opens(path, flags, mode)

    daemon = it.daemon()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fail)
        go(it, daemon, 5 * MINUTE)
    assert (operations(it), operations(it, "other")) == (["update"], ["update", "update"])
    found = {name: standing.plan.verdict for name, standing in daemon.standings().items()}
    assert found["web"].code is ReasonCode.NOT_DURABLE
    assert f"{tmp_path}/copies/web.status.json cannot be read: Permission denied" in (
        found["web"].message
    )
    assert "chown" in found["web"].message
    assert found["third"].code is ReasonCode.CONFLICT, "which of the two is in force is not known"
    assert [told for name, told, _ in it.said if name == "web"][-1] is State.UNKNOWN
    assert files.read("web") == before
    it.specs.pop("third")
    go(it, daemon, MINUTE)
    assert operations(it) == ["update", "update"]


@pytest.mark.parametrize("way", list(WhileRunning))
def test_row_24_a_change_while_it_runs(way: WhileRunning) -> None:
    """A change waits for the run's end, or cancels it first; then the newest runs, once."""
    it = world(spec("web", while_running=way))
    it.api.duration = 10 * MINUTE
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    for digest in (CHANGED, "f" * 64):
        it.digests["web"] = digest
        if way is WhileRunning.WAIT:
            go(it, daemon, 2 * MINUTE)
            assert it.api.creates == 1
    go(it, daemon, 40 * MINUTE)
    first, second = records(it)
    assert first.canceled is (way is WhileRunning.CANCEL)
    assert second.shown.created >= first.shown.modified
    assert second.shown.marker.endswith("f" * 8)
    assert states(it) == {"web": State.READY}


def test_row_25_a_cancel_that_meets_an_end() -> None:
    """A cancel that comes too late changes nothing: what the API shows then counts."""
    it = world(spec("web"))
    it.api.duration = 10 * MINUTE
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    late = [HOUR]

    def while_it_travels(method: str, path: str) -> Fault:
        if method == "POST" and path.endswith("/cancel") and late:
            it.clock.time += late.pop()
        return Fault.NONE

    it.api.faults = while_it_travels
    ask(it, RequestKind.CANCEL)
    go(it, daemon, 5 * MINUTE)
    assert not late
    assert (states(it), it.api.creates, it.requests) == ({"web": State.READY}, 1, {})
    assert records(it)[0].shown.status is JobStatus.SUCCEEDED


def test_row_25_a_cancel_without_an_answer_is_sent_again() -> None:
    """A cancel that is not known to have arrived is repeated until the run ends."""
    it = world(spec("web"))
    it.api.duration = HOUR
    daemon = it.daemon()
    go(it, daemon, MINUTE)
    cancels: list[timedelta] = []

    def lose(method: str, path: str) -> Fault:
        if method == "POST" and path.endswith("/cancel"):
            cancels.append(it.clock.time - NOW)
            return Fault.LOST_BEFORE if len(cancels) == 1 else Fault.NONE
        return Fault.NONE

    it.api.faults = lose
    ask(it, RequestKind.CANCEL)
    go(it, daemon, 5 * MINUTE)
    assert len(cancels) == 2
    assert (states(it), code(it)) == ({"web": State.STALLED}, ReasonCode.CANCELED)
