"""The planner's rules, as a table: a situation, and what is done and said about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from reconciler.api.types import JobStatus, Operation
from reconciler.model import (
    Approval,
    CancelRecord,
    CauseKind,
    Desired,
    History,
    Notice,
    Observed,
    Reason,
    ReasonCode,
    RequestKind,
    RunEnd,
    Schedule,
    State,
    Submit,
    Unknown,
    WhileRunning,
)
from reconciler.planning import transitions
from reconciler.planning.gates import approval_key
from reconciler.planning.planner import plan
from tests.factories import (
    NIGHTLY,
    NOW,
    attempt,
    cancel_request,
    cause,
    deployment,
    desired,
    ended,
    intent,
    observed,
    run,
    scheduled,
    settled,
    spec,
    status,
    trigger,
    upstream,
)

DOWN = Unknown(Reason(ReasonCode.API_UNAVAILABLE, "down"), NOW + timedelta(seconds=4))
MARKER = "RECONCILER_RUN_owner_r1_dddddddd"
STALLED = Reason(ReasonCode.RETRIES_EXHAUSTED, "gave up")
WEB = spec()
SUSPENDED = spec(suspended=True)
DEPENDENT = spec(depends_on=("network",))
SCHEDULED = spec(schedules=(NIGHTLY,))
UPDATES = Schedule(name="nightly", cron="0 3 * * *", operation=Operation.UPDATE)
DESTROYS = Schedule(name="nightly", cron="0 3 * * *", operation=Operation.DESTROY)
MORNING = NOW.replace(hour=3)
FAILED = settled(last=ended(RunEnd.FAILED), failures=1, next_attempt=NOW + timedelta(seconds=30))


@dataclass(frozen=True)
class Row:
    given: str
    desired: Desired
    observed: Observed
    actions: str
    state: State
    code: ReasonCode
    says: str = ""
    again_s: float | None = None


def minutes_later(minutes: float) -> timedelta:
    return timedelta(minutes=minutes)


TABLE = [
    Row("a new spec", desired(), observed(), "Submit", State.PROGRESSING, ReasonCode.NEW,
        "never deployed"),
    Row("nothing has changed", desired(), observed(settled()), "", State.READY,
        ReasonCode.UP_TO_DATE, "version 1 is at aaaaaaaaaaaa", 60),
    Row("a changed variable",
        desired(digest="e" * 64, fields={**dict(desired().fields),
                "operationContext.environmentVariables.REGION": "us"}),
        observed(settled()), "Submit", State.PROGRESSING, ReasonCode.SPEC_CHANGED,
        "operationContext.environmentVariables.REGION: eu → us"),
    Row("a new commit", desired(commit="b" * 40), observed(settled()), "Submit",
        State.PROGRESSING, ReasonCode.SOURCE_CHANGED, "source commit: aaaaaaaaaaaa → bbbbbbbbbbbb"),
    Row("a new commit that is not to start a run",
        desired(spec(on_source_change=False), commit="b" * 40), observed(settled()), "",
        State.READY, ReasonCode.UP_TO_DATE, "bbbbbbbbbbbb starts nothing by itself"),
    Row("a new commit that leaves its paths as they are",
        desired(commit="b" * 40, source="paths"),
        observed(settled(attempt=replace(attempt(), source="paths"), last=ended(source="paths"))),
        "", State.READY, ReasonCode.UP_TO_DATE,
        "version 1 ran at aaaaaaaaaaaa, and nothing that it uses has changed up to bbbbbbbbbbbb"),
    Row("a changed spec that is not to start a run",
        desired(spec(on_spec_change=False), digest="e" * 64), observed(settled()), "",
        State.READY, ReasonCode.UP_TO_DATE),
    Row("a suspended spec", desired(SUSPENDED), observed(), "", State.SUSPENDED,
        ReasonCode.SUSPENDED),
    Row("a trigger of a suspended spec", desired(SUSPENDED), observed(requests=(trigger(),)),
        "DropRequest", State.PROGRESSING, ReasonCode.TRIGGERED, "suspended"),
    Row("an unreachable source",
        desired(blocked=Reason(ReasonCode.SOURCE_UNAVAILABLE, "no route")), observed(settled()),
        "", State.UNKNOWN, ReasonCode.SOURCE_UNAVAILABLE, "no route", 60),
    Row("a missing secret",
        desired(blocked=Reason(ReasonCode.SECRET_UNAVAILABLE, "fromEnv X is not set")),
        observed(settled()), "", State.WAITING, ReasonCode.SECRET_UNAVAILABLE, "fromEnv X"),
    Row("a dependency that runs", desired(DEPENDENT),
        observed(upstream=(upstream(State.PROGRESSING),)), "", State.WAITING,
        ReasonCode.DEPENDENCY, "waits for network (Progressing)"),
    Row("a dependency that does not exist", desired(DEPENDENT),
        observed(upstream=(upstream(State.UNKNOWN, missing=True),)), "", State.WAITING,
        ReasonCode.DEPENDENCY, "no such spec"),
    Row("a failing dependency of what is up to date", desired(DEPENDENT),
        observed(settled(), upstream=(upstream(State.FAILED),)), "", State.READY,
        ReasonCode.UP_TO_DATE),
    Row("a dependency that is ready", desired(DEPENDENT),
        observed(upstream=(upstream(State.READY),)), "Submit", State.PROGRESSING, ReasonCode.NEW),
    Row("deployments that no status file tells of", desired(), observed(history=History(latest=7)),
        "", State.STALLED, ReasonCode.HISTORY_UNKNOWN, "trigger web"),
    Row("the same, and a person who takes them over", desired(),
        observed(history=History(latest=7), requests=(trigger(),)), "Submit", State.PROGRESSING,
        ReasonCode.TRIGGERED, "ada asked for update"),
    Row("a new spec while the API is down", desired(), observed(history=DOWN), "",
        State.UNKNOWN, ReasonCode.API_UNAVAILABLE, "down", 4),
    Row("a trigger", desired(), observed(settled(), requests=(trigger(Operation.REFRESH),)),
        "Submit", State.PROGRESSING, ReasonCode.TRIGGERED, "ada asked for refresh"),
    Row("a trigger that was dealt with before a crash", desired(),
        observed(settled(handled=("q1",)), requests=(trigger(),)), "DropRequest",
        State.PROGRESSING, ReasonCode.TRIGGERED),
    Row("a cancel of nothing", desired(), observed(settled(), requests=(cancel_request(),)),
        "DropRequest", State.PROGRESSING, ReasonCode.TRIGGERED, "nothing was running"),
    # ---- an unanswered create
    Row("an intent that was carried out", desired(),
        observed(status(intent=intent()), seen=deployment(marker=MARKER)), "Adopt",
        State.PROGRESSING, ReasonCode.RUNNING, "found again as version 1"),
    Row("an intent that may still come through", desired(),
        observed(status(intent=intent()), settles_in=timedelta(seconds=30)), "",
        State.PROGRESSING, ReasonCode.SETTLING, "may still come", 30),
    Row("an intent that did not come through", desired(),
        observed(status(intent=intent(cause=cause(CauseKind.NEW)))), "Submit",
        State.PROGRESSING, ReasonCode.SETTLING, "asking again"),
    Row("an intent that is no longer wanted", desired(commit="b" * 40),
        observed(status(intent=intent())), "Abandon",
        State.PROGRESSING, ReasonCode.SETTLING, "no longer wanted"),
    Row("an intent that the rules would not have now", desired(),
        observed(status(intent=intent(cause=cause(CauseKind.TRIGGER, request_id="gone")))),
        "Abandon", State.PROGRESSING, ReasonCode.SETTLING, "no longer wanted"),
    Row("an intent that somebody cancels", desired(),
        observed(status(intent=intent()), requests=(cancel_request(),)), "Abandon",
        State.PROGRESSING, ReasonCode.CANCELING, "before it had come through"),
    Row("an intent while the API is down", desired(),
        observed(status(intent=intent(at=NOW - minutes_later(60))), seen=DOWN), "",
        State.UNKNOWN, ReasonCode.API_UNAVAILABLE, "down", 4),
    # ---- a run in flight
    Row("a run that is seen for the first time", desired(),
        observed(status(run=run(visible=False)), seen=deployment()),
        "Follow", State.PROGRESSING, ReasonCode.RUNNING),
    Row("a run that goes on", desired(), observed(status(run=run()), seen=deployment()), "",
        State.PROGRESSING, ReasonCode.RUNNING, "update runs as version 1", 0.25),
    Row("a run that goes on for long", desired(),
        observed(status(run=run(submitted=NOW - minutes_later(30),
                                started=NOW - minutes_later(30),
                                seen_running=NOW - minutes_later(30))), seen=deployment(),
                 running_for=minutes_later(30)),
        "", State.PROGRESSING, ReasonCode.RUNNING, "", 5),
    Row("a run whose spec has changed", desired(digest="e" * 64),
        observed(status(run=run()), seen=deployment()), "", State.PROGRESSING,
        ReasonCode.RUNNING),
    Row("a run that has ended", desired(),
        observed(status(run=run()), seen=deployment(JobStatus.SUCCEEDED)), "Conclude",
        State.PROGRESSING, ReasonCode.RUNNING, "ended"),
    Row("a run that is not visible yet", desired(), observed(status(run=run(visible=False))), "",
        State.PROGRESSING, ReasonCode.NOT_YET_VISIBLE, "not visible yet", 5),
    Row("a run that never became visible", desired(),
        observed(status(run=run(visible=False)), missing_for=minutes_later(10)), "Conclude",
        State.STALLED, ReasonCode.HISTORY_LOST),
    Row("a run that is not to be seen for a moment", desired(),
        observed(status(run=run(submitted=NOW - minutes_later(50)))), "", State.PROGRESSING,
        ReasonCode.NOT_YET_VISIBLE, "not visible now", 5),
    Row("a run while the API is down", desired(), observed(status(run=run()), seen=DOWN), "",
        State.UNKNOWN, ReasonCode.API_UNAVAILABLE, "down", 4),
    Row("a run that a person cancels", desired(),
        observed(status(run=run()), seen=deployment(), requests=(cancel_request(),)), "Cancel",
        State.PROGRESSING, ReasonCode.CANCELING, "ada cancels version 1"),
    Row("a run that is being cancelled", desired(),
        observed(status(run=run(), canceling=CancelRecord(by="ada", at=NOW)),
                 seen=deployment()), "", State.PROGRESSING, ReasonCode.CANCELING,
        "cancelled by ada", 0.25),
    Row("a cancel that shows no effect", desired(),
        observed(status(run=run(), canceling=CancelRecord(by="ada", at=NOW - minutes_later(1))),
                 seen=deployment()), "Cancel", State.PROGRESSING, ReasonCode.CANCELING, "again"),
    Row("a run that takes too long", desired(spec(timeout=minutes_later(5))),
        observed(status(run=run()), seen=deployment(), running_for=minutes_later(5)), "Cancel",
        State.PROGRESSING, ReasonCode.CANCELING, "reconcile.timeout"),
    Row("a run before a clock that was set ahead", desired(spec(timeout=minutes_later(5))),
        observed(status(run=run(seen_running=NOW - minutes_later(50))), seen=deployment()), "",
        State.PROGRESSING, ReasonCode.RUNNING),
    Row("a queued run, however long", desired(spec(timeout=minutes_later(5))),
        observed(status(run=run(started=None, seen_running=None, status=JobStatus.NOT_STARTED,
                                submitted=NOW - minutes_later(50))),
                 seen=deployment(JobStatus.NOT_STARTED)), "", State.PROGRESSING,
        ReasonCode.QUEUED, "queued as version 1"),
    # ---- after a failure
    Row("a failure before its backoff is over", desired(), observed(FAILED), "", State.FAILED,
        ReasonCode.FAILED, "tried again at 12:00:30", 30),
    Row("a failure after its backoff", desired(),
        observed(replace(FAILED, next_attempt=NOW)), "Submit", State.PROGRESSING,
        ReasonCode.RETRYING, "try 2 of 3"),
    Row("a failure and a changed source", desired(commit="b" * 40), observed(FAILED), "Submit",
        State.PROGRESSING, ReasonCode.SOURCE_CHANGED),
    Row("a stall", desired(), observed(replace(FAILED, stalled=STALLED)), "", State.STALLED,
        ReasonCode.RETRIES_EXHAUSTED),
    Row("a stall and a changed source", desired(commit="b" * 40),
        observed(replace(FAILED, stalled=STALLED)), "Submit", State.PROGRESSING,
        ReasonCode.SOURCE_CHANGED),
    Row("a stall and a trigger", desired(),
        observed(replace(FAILED, stalled=STALLED), requests=(trigger(),)), "Submit",
        State.PROGRESSING, ReasonCode.TRIGGERED),
    Row("a stall and a due schedule", desired(SCHEDULED),
        observed(settled(stalled=STALLED, **scheduled(MORNING - timedelta(days=1)))), "",
        State.STALLED, ReasonCode.RETRIES_EXHAUSTED),
    Row("a refused request", desired(),
        observed(settled(stalled=Reason(ReasonCode.REFUSED, "400"))), "", State.FAILED,
        ReasonCode.REFUSED),
    Row("a refused token", desired(),
        observed(status(hold=Reason(ReasonCode.ACCESS_DENIED, "401"),
                        next_attempt=NOW + minutes_later(1))), "", State.UNKNOWN,
        ReasonCode.ACCESS_DENIED, "401", 60),
    Row("a refused token, a minute later", desired(),
        observed(status(hold=Reason(ReasonCode.ACCESS_DENIED, "401"), next_attempt=NOW)),
        "Submit", State.PROGRESSING, ReasonCode.NEW),
    # ---- schedules
    Row("a due slot", desired(SCHEDULED), observed(settled(**scheduled(MORNING - timedelta(1)))),
        "Submit", State.PROGRESSING, ReasonCode.SCHEDULE_DUE, "schedule nightly due 2026-03-02"),
    Row("three due slots", desired(SCHEDULED),
        observed(settled(**scheduled(MORNING - timedelta(3)))), "SkipSlots", State.READY,
        ReasonCode.SCHEDULE_DUE, "2 slots of schedule nightly"),
    Row("a slot that was taken", desired(SCHEDULED), observed(settled(**scheduled(MORNING))), "",
        State.READY, ReasonCode.UP_TO_DATE, "", 60),
    Row("a schedule that is not remembered", desired(SCHEDULED), observed(settled()), "",
        State.READY, ReasonCode.UP_TO_DATE),
    Row("a missed update", desired(spec(schedules=(UPDATES,))),
        observed(settled(**scheduled(MORNING - timedelta(1), UPDATES))), "SkipSlots",
        State.READY, ReasonCode.SCHEDULE_DUE, "missed"),
    Row("a missed destroy", desired(spec(schedules=(DESTROYS,))),
        observed(settled(**scheduled(MORNING - timedelta(1), DESTROYS))), "SkipSlots",
        State.READY, ReasonCode.SCHEDULE_DUE, "missed"),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.given.replace(" ", "-"))
def test_rules(row: Row) -> None:
    """Each situation has one plan, with a reason and the time to look again."""
    made = plan(row.desired, row.observed, NOW)
    assert " ".join(type(a).__name__ for a in made.actions) == row.actions
    assert (made.state, made.verdict.code) == (row.state, row.code)
    assert row.says in made.verdict.message
    if row.again_s is not None:
        assert made.look_again_at == NOW + timedelta(seconds=row.again_s)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.given.replace(" ", "-"))
def test_same_input_same_plan(row: Row) -> None:
    """A plan depends on nothing but its input, and is never to be looked at in the past."""
    made = plan(row.desired, row.observed, NOW)
    assert made == plan(row.desired, row.observed, NOW)
    assert made.look_again_at is None or made.look_again_at > NOW


def test_a_retry_repeats_the_spec_operation() -> None:
    """A retry runs the spec's own operation and counts as one that is desired."""
    made = plan(desired(), observed(replace(FAILED, next_attempt=NOW)), NOW)
    (submit,) = made.actions
    assert isinstance(submit, Submit)
    assert submit.operation is Operation.UPDATE
    assert submit.cause.desired


def test_a_trigger_of_another_operation_is_not_desired() -> None:
    """A refresh by hand does not stand for the update that the spec wants."""
    made = plan(desired(), observed(settled(), requests=(trigger(Operation.REFRESH),)), NOW)
    (submit,) = made.actions
    assert isinstance(submit, Submit)
    assert not submit.cause.desired
    assert submit.cause.by == "ada"


def test_an_unanswered_create_keeps_its_run_id() -> None:
    """What is asked for again is the same run, so an API that knows it answers with the first."""
    old = intent(at=NOW - timedelta(minutes=1), cause=cause(CauseKind.NEW))
    (submit,) = plan(desired(), observed(status(intent=old)), NOW).actions
    assert isinstance(submit, Submit)
    assert submit.again == old


def test_the_source_change_is_named_beside_the_spec_change() -> None:
    """Where the spec and the source changed together, both are said."""
    made = plan(desired(digest="e" * 64, commit="b" * 40), observed(settled()), NOW)
    assert made.changes[-1] == "source commit: aaaaaaaaaaaa → bbbbbbbbbbbb"


def test_a_history_that_went_with_its_destroy_begins_anew() -> None:
    """After a wanted destroy a stack may be gone; the next update is no loss of data."""
    gone = settled(destroyed=True, last_version=7)
    wanted = desired(commit="b" * 40, digest="e" * 64)
    made = plan(wanted, observed(gone, history=History(latest=0)), NOW)
    (notice,) = made.actions
    assert isinstance(notice, Notice)
    after = transitions.remembered(gone, notice, wanted, NOW)
    assert after.last_version == 0
    assert plan(wanted, observed(after, history=History(latest=0)), NOW).starts is not None
    lost = plan(wanted, observed(settled(last_version=7), history=History(latest=0)), NOW)
    assert (lost.state, lost.verdict.code) == (State.STALLED, ReasonCode.HISTORY_LOST)


def test_an_approval_is_for_the_preview_that_was_shown() -> None:
    """What was approved of one preview is not approved of the next, whatever is wanted."""
    shown = Approval(
        digest="d" * 64,
        source="a" * 40,
        operation=Operation.UPDATE,
        version=6,
        asked=NOW,
    )
    request = replace(trigger(), kind=RequestKind.APPROVE, binds=approval_key(shown))
    gated = desired(spec(needs_approval=True))
    same = plan(gated, observed(settled(approval=shown), requests=(request,)), NOW)
    newer = settled(approval=replace(shown, version=7))
    other = plan(gated, observed(newer, requests=(request,)), NOW)
    assert [type(a).__name__ for a in same.actions] == ["Grant"]
    assert [type(a).__name__ for a in other.actions] == ["DropRequest"]


def test_a_suspension_hides_no_need_of_a_person() -> None:
    """What waits for an approval beneath it is told; once that is given, no more."""
    asked = Approval(
        digest="d" * 64, source="a" * 40, operation=Operation.UPDATE, version=6, asked=NOW
    )
    held = desired(spec(needs_approval=True, suspended=True))
    made = plan(held, observed(settled(approval=asked)), NOW)
    assert made.state is State.SUSPENDED
    assert made.verdict.message.endswith("; beneath that update waits for an approval")
    granted = plan(held, observed(settled(approval=replace(asked, granted=NOW))), NOW)
    assert granted.verdict.message.endswith("set it to false to go on")


def test_other_source_paths_at_the_same_commit_cancel_no_run() -> None:
    """What counts of a commit has changed, and the commit has not: the run is what is wanted."""
    under_way = run(commit="a" * 40, source="paths-1", digest="d" * 64)
    wanted = desired(spec(while_running=WhileRunning.CANCEL), source="paths-2")
    made = plan(wanted, observed(status(run=under_way), seen=deployment()), NOW)
    assert made.actions == ()
    later = replace(wanted, commit="b" * 40)
    made = plan(later, observed(status(run=under_way), seen=deployment()), NOW)
    assert [type(a).__name__ for a in made.actions] == ["Cancel"]
