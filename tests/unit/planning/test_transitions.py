"""What is remembered after something happened."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from reconciler.api.types import Created, EndingKind, JobStatus
from reconciler.errors import RefusedError
from reconciler.model import (
    Cancel,
    CancelRecord,
    CauseKind,
    Conclude,
    Plan,
    Reason,
    ReasonCode,
    Retry,
    RunEnd,
    Schedule,
    SkipSlots,
    State,
    Status,
    Submit,
)
from reconciler.planning import transitions
from reconciler.planning.transitions import RunName, Wanted
from reconciler.planning.transitions.notes import HANDLED_REQUESTS, HISTORY_LINES
from tests.factories import (
    NIGHTLY,
    NOW,
    attempt,
    cause,
    deployment,
    desired,
    intent,
    run,
    scheduled,
    settled,
    spec,
    status,
)

RETRY = Retry(limit=2, backoff=timedelta(seconds=30), max_backoff=timedelta(seconds=50))
LATER = NOW + timedelta(minutes=1)
PULUMI = "Pulumi operation"


def concluded(before: Status | None = None, log: tuple[str, ...] = (), **changes: object) -> Status:
    """Conclude a run that failed in the operation, but for what is changed."""
    given = {"state": JobStatus.FAILED, "failed_step": PULUMI} | changes
    seen = deployment(**given)  # type: ignore[arg-type]
    return transitions.concluded(
        before or status(run=run(), attempt=attempt()),
        Conclude(deployment=seen, log=log),
        RETRY,
        NOW,
    )


def test_two_statuses_say_the_same() -> None:
    """But for when and how often one was written, each field makes them differ."""
    one = status()
    values = {f.name: getattr(one, f.name) for f in fields(Status)}
    others = {name: Status(**(values | {name: object()})) for name in values}
    alike = {name for name, other in others.items() if transitions.same(one, other)}
    assert alike == {"generation", "written"}


def test_a_look_that_finds_nothing_new_makes_no_other_status() -> None:
    """The spec, the plan and the conditions are as they were, so the status is the same object."""
    of = spec(schedules=(NIGHTLY,))
    plan = Plan(name="web", state=State.READY, verdict=Reason(ReasonCode.UP_TO_DATE, "as wanted"))
    known = transitions.verdict(transitions.prepared(status(), of, NOW), plan, NOW)
    assert transitions.prepared(known, of, LATER) is known
    assert transitions.verdict(known, plan, LATER) is known
    for state, code in ((State.WAITING, ReasonCode.UP_TO_DATE), (State.READY, ReasonCode.DRIFTED)):
        other = Plan(name="web", state=state, verdict=Reason(code, "as wanted"))
        found = transitions.verdict(known, other, LATER)
        assert (found.state, found.reason) == (state, other.verdict)


def test_an_intent_names_the_run() -> None:
    """The marker has the owner, the run id and the first of the digest."""
    submit = Submit(cause=cause(), operation=run().operation)
    begun = transitions.begun(settled(), submit, Wanted(desired()), RunName("me", "r7"), NOW)
    assert begun.intent is not None
    assert begun.intent.marker == "RECONCILER_RUN_me_r7_dddddddd"
    assert begun.intent.after_version == 1
    assert begun.attempt == settled().attempt


def test_the_same_intent_is_begun_again() -> None:
    """What is asked for again keeps its name and marker; only the time is new."""
    old = intent(at=NOW - timedelta(hours=1))
    again = Submit(cause=old.cause, operation=old.operation, again=old)
    begun = transitions.begun(
        status(intent=old), again, Wanted(desired()), RunName("me", "r9"), NOW
    )
    assert begun.intent == replace(old, at=NOW)


def test_an_accepted_create_is_a_run_and_an_attempt() -> None:
    """From the answer on, what was asked for counts as tried."""
    before = status(intent=intent(), stalled=Reason(ReasonCode.CANCELED, "x"), failures=2)
    after = transitions.accepted(before, Created(id="a", version=5, console_url="u"), NOW)
    assert after.intent is None
    assert after.run is not None
    assert (after.run.id, after.run.version, after.run.url) == ("a", 5, "u")
    assert (after.attempt, after.last_version, after.stalled) == (attempt(), 5, None)
    assert after.failures == 0, "another thing is wanted: the count starts again"


def test_a_create_that_was_found_again_is_the_run() -> None:
    """By its marker a deployment is known as ours, with its id and version, and noted."""
    before = status(intent=intent(), last_version=2)
    after = transitions.adopted(before, deployment(id="b", version=7), LATER)
    assert after.run is not None
    assert (after.run.id, after.run.version, after.run.run_id) == ("b", 7, "r1")
    assert (after.intent, after.attempt, after.last_version) == (None, attempt(), 7)
    assert "version 7 was found again" in after.history[-1].text


def test_a_lost_create_is_waited_for_from_when_it_was_lost() -> None:
    """Only the time changes: its answer may still come for a while from then."""
    before = status(intent=intent())
    after = transitions.lost(before, LATER)
    assert after == replace(before, intent=intent(at=LATER))


@pytest.mark.parametrize(
    ("state", "started"), [(JobStatus.NOT_STARTED, None), (JobStatus.RUNNING, NOW)]
)
def test_a_followed_run_has_the_apis_state(state: JobStatus, started: object) -> None:
    """Seen once it is visible; it has started when its first step has."""
    before = status(run=run(visible=False, started=None, version=0, status=JobStatus.NOT_STARTED))
    after = transitions.followed(before, deployment(state, version=4), NOW)
    assert after.run is not None
    assert (after.run.visible, after.run.status, after.run.version) == (True, state, 4)
    assert (after.run.started, after.last_version) == (started, 4)


@pytest.mark.parametrize("off", [timedelta(hours=-5), timedelta(hours=5)])
def test_a_time_limit_counts_from_when_we_saw_it_run(off: timedelta) -> None:
    """The API's clock may be hours off: a limit is held against our own, from the first look."""
    before = status(run=run(started=None, seen_running=None, status=JobStatus.NOT_STARTED))
    now = NOW + off
    after = transitions.followed(before, deployment(), now)
    assert after.run is not None
    assert (after.run.started, after.run.seen_running) == (NOW, now)
    again = transitions.followed(after, deployment(), now + timedelta(minutes=5))
    assert again.run is not None
    assert again.run.seen_running == now


def test_a_skipped_run_is_tried_again_and_is_no_failure() -> None:
    """That it waited too long in a queue says nothing against the program."""
    after = concluded(state=JobStatus.SKIPPED, failed_step="")
    assert (after.failures, after.stalled) == (0, None)
    assert after.next_attempt == NOW + RETRY.backoff


def test_a_success_ends_the_count() -> None:
    """After a success there is nothing to try again, and no failure is remembered."""
    before = status(run=run(), attempt=attempt(), failures=2, next_attempt=NOW)
    after = concluded(before, state=JobStatus.SUCCEEDED, failed_step="")
    assert (after.failures, after.next_attempt, after.stalled) == (0, None, None)


def test_the_backoff_never_exceeds_its_bound() -> None:
    """However often it has failed, and with whatever limit, the pause is a time."""
    before = status(run=run(), attempt=attempt(), failures=5000)
    retry = replace(RETRY, limit=10_000)
    seen = deployment(JobStatus.FAILED, failed_step=PULUMI)
    after = transitions.concluded(before, Conclude(deployment=seen), retry, NOW)
    assert after.next_attempt == NOW + retry.max_backoff


def test_a_retry_goes_on_counting() -> None:
    """The same thing again does not reset the failures; a person's word does."""
    before = status(intent=intent(cause=cause(CauseKind.RETRY)), attempt=attempt(), failures=2)
    created = Created(id="a", version=2)
    assert transitions.accepted(before, created, NOW).failures == 2
    by_hand = intent(cause=cause(CauseKind.TRIGGER, by="ada", request_id="q1"))
    after = transitions.accepted(replace(before, intent=by_hand), created, NOW)
    assert (after.failures, after.handled) == (0, ("q1",))


def test_a_schedule_takes_its_slot_when_it_is_accepted() -> None:
    """The slot is taken with the answer, and the attempt stays what it was."""
    slot = NOW - timedelta(hours=2)
    due = cause(CauseKind.SCHEDULE, schedule="nightly", slot=slot)
    before = settled(intent=intent(cause=due), **scheduled(NOW - timedelta(days=1)))
    after = transitions.accepted(before, Created(id="a", version=2), NOW)
    assert after.schedules[0].last == slot
    assert after.attempt == before.attempt


@pytest.mark.parametrize("code", [400, 402, 413, 422])
def test_a_refused_request_waits_for_a_change(code: int) -> None:
    """The request was refused for what it is: it counts as tried, and is not tried again."""
    after = transitions.refused(status(intent=intent()), RefusedError(code, "bad"), NOW)
    assert (after.intent, after.attempt) == (None, attempt())
    assert after.stalled is not None
    assert after.stalled.code is ReasonCode.REFUSED
    assert after.last is not None
    assert after.last.end is RunEnd.REFUSED


@pytest.mark.parametrize(
    ("code", "retry_after_s", "reason", "wait_s"),
    [
        (401, None, ReasonCode.ACCESS_DENIED, 60),
        (403, None, ReasonCode.ACCESS_DENIED, 60),
        (404, None, ReasonCode.ACCESS_DENIED, 60),
        (429, 7.0, ReasonCode.API_UNAVAILABLE, 7),
        (429, 999_999.0, ReasonCode.API_UNAVAILABLE, 3600),
    ],
)
def test_a_refused_access_waits_and_tries_again(
    code: int, retry_after_s: float | None, reason: ReasonCode, wait_s: int
) -> None:
    """Nothing was tried, so the same is asked for again after a while, which is bounded."""
    error = RefusedError(code, "no", retry_after_s)
    after = transitions.refused(status(intent=intent()), error, NOW)
    assert (after.intent, after.attempt, after.last) == (None, None, None)
    assert after.hold is not None
    assert after.hold.code is reason
    assert after.next_attempt == NOW + timedelta(seconds=wait_s)


def test_failures_back_off_and_stall() -> None:
    """The backoff doubles up to its bound; after the limit it stalls and says what to do."""
    one = concluded()
    assert (one.failures, one.next_attempt) == (1, NOW + timedelta(seconds=30))
    two = concluded(replace(one, run=run()))
    assert (two.failures, two.next_attempt) == (2, NOW + timedelta(seconds=50))
    three = concluded(replace(two, run=run()))
    assert three.stalled is not None
    assert three.stalled.code is ReasonCode.RETRIES_EXHAUSTED
    assert "reconciler trigger web" in three.stalled.message
    assert three.next_attempt is None


@pytest.mark.parametrize(
    ("changes", "canceled", "log", "end"),
    [
        ({"state": JobStatus.SUCCEEDED, "failed_step": ""}, False, (), RunEnd.SUCCEEDED),
        ({"state": JobStatus.SUCCEEDED, "failed_step": ""}, True, (), RunEnd.SUCCEEDED),
        ({}, False, ("error: no",), RunEnd.FAILED),
        ({}, True, (), RunEnd.CANCELED),
        ({}, False, ("error: update canceled",), RunEnd.CANCELED),
        ({"ending": EndingKind.CANCELED}, False, (), RunEnd.CANCELED),
        ({"ending": EndingKind.INTERRUPTED}, False, (), RunEnd.INTERRUPTED),
        ({"ending": EndingKind.INTERRUPTED}, True, (), RunEnd.INTERRUPTED),
        ({"ending": EndingKind.LOST, "failed_step": "Get source"}, False, (), RunEnd.FAILED),
        ({"state": JobStatus.SKIPPED, "failed_step": ""}, False, (), RunEnd.SKIPPED),
    ],
)
def test_how_a_run_ended(
    changes: dict[str, object],
    canceled: bool,  # noqa: FBT001 - a column of the table
    log: tuple[str, ...],
    end: RunEnd,
) -> None:
    """The engine's word, our own record and the log's words tell an ending apart."""
    record = CancelRecord(by="ada", at=NOW) if canceled else None
    before = status(run=run(), attempt=attempt(), canceling=record)
    after = concluded(before, log, **changes)
    assert after.last is not None
    assert after.latest == after.last
    assert after.last.end is end
    stalls = {RunEnd.CANCELED, RunEnd.INTERRUPTED}
    assert (after.stalled is not None) == (end in stalls)
    assert (after.run, after.canceling) == (None, None)


def test_a_timeout_is_said_to_be_one() -> None:
    """A run that we cancelled for its length stalls, and says why."""
    record = CancelRecord(by="reconcile.timeout", at=NOW, timed_out=True)
    after = concluded(status(run=run(), attempt=attempt(), canceling=record))
    assert after.stalled is not None
    assert after.stalled.code is ReasonCode.TIMED_OUT


def test_a_failure_says_the_log_line_that_tells_most() -> None:
    """Of a log's end the last real error is in the message, not Pulumi's summary of it."""
    log = ("  file: error: no room left", "error: update failed", "2 errored")
    after = concluded(log=log)
    assert after.last is not None
    assert after.last.message == "step 'Pulumi operation' failed: file: error: no room left"


def test_a_failed_schedule_spends_no_retries() -> None:
    """A schedule's run has its own outcome; what is desired stands as before."""
    due = cause(CauseKind.SCHEDULE, schedule="nightly", slot=NOW)
    before = settled(run=run(cause=due, version=2), **scheduled(NOW))
    after = concluded(before)
    assert (after.failures, after.last, after.stalled) == (0, before.last, None)
    assert after.schedules[0].outcome.startswith("failed: step")


def test_a_run_that_nobody_knows_any_more() -> None:
    """A deployment that was acknowledged and is gone stalls: data was lost on that side."""
    before = status(run=run(), attempt=attempt())
    after = transitions.concluded(before, Conclude(deployment=None), RETRY, NOW)
    assert after.stalled is not None
    assert after.stalled.code is ReasonCode.HISTORY_LOST


def test_a_cancel_without_an_answer_is_forgotten() -> None:
    """The record goes with the request's mark, so the next look cancels again."""
    cancel = Cancel(deployment_id="id-1", by="ada", request_id="q2")
    recorded = transitions.canceling(status(run=run()), cancel, NOW)
    assert (recorded.canceling is not None, recorded.handled) == (True, ("q2",))
    after = transitions.cancel_unanswered(recorded, cancel)
    assert (after.canceling, after.handled) == (None, ())


def test_schedules_count_from_when_they_are_new() -> None:
    """A new or edited schedule starts now; a known one keeps its last slot."""
    known = settled(**scheduled(NOW - timedelta(days=2)))
    kept = transitions.prepared(known, spec(schedules=(NIGHTLY,)), NOW)
    assert kept.schedules[0].last == NOW - timedelta(days=2)
    edited = Schedule(name="nightly", cron="0 4 * * *", operation=NIGHTLY.operation)
    fresh = transitions.prepared(known, spec(schedules=(edited,)), NOW)
    assert fresh.schedules[0].last == NOW
    assert fresh.schedules[0].next == NOW.replace(day=3, hour=4)


def test_another_stack_starts_afresh() -> None:
    """An edited stack is a new one; of the old one only the history stays."""
    after = transitions.prepared(replace(settled(), stack="acme/web/old"), spec(), NOW)
    assert (after.attempt, after.last_version) == (None, 0)
    assert "acme/web/old" in after.history[-1].text


def test_conditions_turn_only_with_their_value() -> None:
    """A condition's time changes when its value does, not when its words do."""
    working = Plan(
        name="web", state=State.PROGRESSING, verdict=Reason(ReasonCode.RUNNING, "step 1")
    )
    first = transitions.verdict(status(), working, NOW)
    other_words = replace(working, verdict=Reason(ReasonCode.RUNNING, "step 2"))
    second = transitions.verdict(first, other_words, LATER)
    assert {c.last_transition for c in second.conditions} == {NOW}
    assert {c.message for c in second.conditions if c.type != "Drifted"} == {"step 2"}
    ready = Plan(name="web", state=State.READY, verdict=Reason(ReasonCode.UP_TO_DATE, "ok"))
    third = {c.type: c for c in transitions.verdict(second, ready, LATER).conditions}
    assert (third["Ready"].status, third["Ready"].last_transition) == (True, LATER)
    assert third["Stalled"].last_transition == NOW


def test_history_and_requests_are_bounded() -> None:
    """However long it runs, a status file stays small."""
    grown = status()
    for i in range(100):
        skip = SkipSlots(schedule="x", until=NOW, note=f"note {i}")
        grown = transitions.handled(transitions.skipped(grown, skip, NOW), f"q{i}")
    assert len(grown.history) == HISTORY_LINES
    assert grown.history[-1].text == "note 99"
    assert len(grown.handled) == HANDLED_REQUESTS
