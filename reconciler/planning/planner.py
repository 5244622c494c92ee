"""What to do about one stack, and why. Pure: the same values give the same plan.

`RULES` is the table of contents: the first rule that has an answer gives the plan. A rule
answers with a whole plan, also where the plan is to wait; then it says for what, and when
to look again. A plan made from stale facts is harmless: a create needs an intent on disk,
and is found again by its marker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler import cron
from reconciler.api.types import Deployment, JobStatus, Operation, StepStatus
from reconciler.model import (
    Abandon,
    Action,
    Adopt,
    Cancel,
    Cause,
    CauseKind,
    Conclude,
    Desired,
    DropRequest,
    Follow,
    HandRequest,
    Observed,
    Plan,
    Reason,
    ReasonCode,
    RequestKind,
    Run,
    RunEnd,
    Schedule,
    ScheduleStatus,
    SkipSlots,
    Spec,
    State,
    Submit,
    Unknown,
)
from reconciler.planning.digest import changes

__all__ = ["RULES", "Situation", "plan", "slot_key"]

# Told of and not seen is late, not finished. After this long it is lost: no list lags so far.
VISIBLE_WITHIN = timedelta(minutes=10)

# A running deployment is looked at again after a tenth of its age: soon for the short ones,
# which people wait for, and seldom for the long ones.
POLL_SHORTEST = timedelta(milliseconds=250)
POLL_LONGEST = timedelta(seconds=5)

# A cancel that shows no effect may never have been sent. It may also take its grace.
CANCEL_AGAIN_AFTER = timedelta(seconds=30)

# A missed update is caught up once if its slot is at most this old: later it would surprise.
STARTING_DEADLINE = timedelta(hours=1)

# A destroy is never caught up. A slot this young is not missed, only taken up a little late.
DESTROY_DEADLINE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rule looks at."""

    desired: Desired
    observed: Observed
    now: datetime

    @property
    def spec(self) -> Spec:
        """The spec."""
        return self.desired.spec

    def plan(
        self,
        state: State,
        verdict: Reason,
        *actions: Action,
        again_at: datetime | None = None,
        differing: tuple[str, ...] = (),
    ) -> Plan:
        """Return a plan for this stack."""
        return Plan(
            name=self.desired.name,
            state=state,
            verdict=verdict,
            actions=actions,
            changes=differing,
            look_again_at=again_at,
        )

    def triggers(self) -> tuple[HandRequest, ...]:
        """The runs asked for by hand, oldest first."""
        return tuple(r for r in self.observed.requests if r.kind is RequestKind.TRIGGER)


def plan(desired: Desired, observed: Observed, now: datetime) -> Plan:
    """Say what to do about one stack, and why."""
    situation = Situation(desired, observed, now)
    for rule in RULES:
        answer = rule(situation)
        if answer is not None:
            return answer
    raise AssertionError("the last rule always answers")


# ---------------------------------------------------------------- what is under way


def settle_intent(at: Situation) -> Plan | None:
    """An unanswered create is settled first: found, or asked for again after a while."""
    intent, seen = at.observed.status.intent, at.observed.seen
    if intent is None:
        return None
    if isinstance(seen, Unknown):
        return at.plan(State.UNKNOWN, seen.reason, again_at=seen.again_at)
    if seen is not None:
        reason = Reason(ReasonCode.RUNNING, f"found again as version {seen.version}")
        return at.plan(State.PROGRESSING, reason, Adopt(deployment=seen))
    settled_at = intent.at + at.observed.settle
    if at.now < settled_at:
        reason = Reason(
            ReasonCode.SETTLING,
            f"the create of {intent.at:%H:%M:%S} had no answer; it may still come through",
        )
        return at.plan(State.PROGRESSING, reason, again_at=settled_at)
    wanted = at.desired
    moved = intent.cause.desired and (
        (wanted.digest, wanted.commit) != (intent.attempt.digest, intent.attempt.commit)
    )
    if at.spec.suspended or (moved and wanted.blocked is None):
        note = "a create without an answer did not come through, and is no longer wanted"
        reason = Reason(ReasonCode.SETTLING, note)
        return at.plan(State.PROGRESSING, reason, Abandon(note=note))
    if wanted.blocked is not None:
        return hold_blocked(at)
    reason = Reason(ReasonCode.SETTLING, "the create had no answer and is nowhere; asking again")
    again = Submit(cause=intent.cause, operation=intent.operation, again=intent)
    return at.plan(State.PROGRESSING, reason, again)


def follow_run(at: Situation) -> Plan | None:
    """A run in flight is followed to its end; nothing else starts before it."""
    run, seen = at.observed.status.run, at.observed.seen
    if run is None:
        return None
    if isinstance(seen, Unknown):
        return at.plan(State.UNKNOWN, seen.reason, again_at=seen.again_at)
    if seen is None:
        return _wait_until_visible(at, run)
    if seen.status.ended:
        reason = Reason(ReasonCode.RUNNING, f"version {seen.version} ended: {seen.status}")
        conclude = Conclude(deployment=seen, log=at.observed.log)
        return at.plan(State.PROGRESSING, reason, conclude)
    if seen.status is not run.status or not run.visible or run.version != seen.version:
        return at.plan(State.PROGRESSING, _progress(run, seen), Follow(deployment=seen))
    cancel = _cancel_by_hand(at, run) or _cancel_by_time(at, run) or _cancel_again(at, run)
    if cancel is not None:
        return cancel
    return at.plan(State.PROGRESSING, _waiting_for(at, run, seen), again_at=_poll_at(at, run))


def _wait_until_visible(at: Situation, run: Run) -> Plan:
    deadline = run.submitted + VISIBLE_WITHIN
    if at.now >= deadline:
        reason = Reason(ReasonCode.HISTORY_LOST, f"version {run.version} is nowhere to be found")
        return at.plan(State.STALLED, reason, Conclude(deployment=None))
    reason = Reason(
        ReasonCode.NOT_YET_VISIBLE,
        f"version {run.version} was acknowledged and is not visible yet",
    )
    return at.plan(State.PROGRESSING, reason, again_at=min(deadline, at.now + POLL_LONGEST))


def _cancel_by_hand(at: Situation, run: Run) -> Plan | None:
    request = next((r for r in at.observed.requests if r.kind is RequestKind.CANCEL), None)
    if request is None:
        return None
    status = at.observed.status
    if status.canceling is not None or request.id in status.handled:
        reason = Reason(ReasonCode.CANCELING, "the request to cancel has been dealt with")
        return at.plan(State.PROGRESSING, reason, DropRequest(request_id=request.id))
    return at.plan(
        State.PROGRESSING,
        Reason(ReasonCode.CANCELING, f"{request.by} cancels version {run.version}"),
        Cancel(deployment_id=run.id, by=request.by, request_id=request.id),
    )


def _cancel_by_time(at: Situation, run: Run) -> Plan | None:
    if run.started is None or at.observed.status.canceling is not None:
        return None
    if at.now < run.started + at.spec.timeout:
        return None
    reason = Reason(
        ReasonCode.CANCELING,
        f"version {run.version} runs for longer than reconcile.timeout ({at.spec.timeout})",
    )
    cancel = Cancel(deployment_id=run.id, by="reconcile.timeout", timed_out=True)
    return at.plan(State.PROGRESSING, reason, cancel)


def _cancel_again(at: Situation, run: Run) -> Plan | None:
    """A crash may have come between the record and the call; cancelling twice is harmless."""
    record = at.observed.status.canceling
    if record is None or at.now < record.at + CANCEL_AGAIN_AFTER:
        return None
    cancel = Cancel(deployment_id=run.id, by=record.by, timed_out=record.timed_out)
    reason = Reason(ReasonCode.CANCELING, f"version {run.version} still runs; cancelling again")
    return at.plan(State.PROGRESSING, reason, cancel)


def _waiting_for(at: Situation, run: Run, seen: Deployment) -> Reason:
    canceling = at.observed.status.canceling
    if canceling is not None:
        return Reason(
            ReasonCode.CANCELING, f"version {run.version} was cancelled by {canceling.by}"
        )
    return _progress(run, seen)


def _progress(run: Run, seen: Deployment) -> Reason:
    if seen.status is not JobStatus.RUNNING:
        return Reason(ReasonCode.QUEUED, f"{run.operation} is queued as version {seen.version}")
    step = next((s.name for s in seen.steps if s.status is StepStatus.RUNNING), "")
    tail = f": {step}" if step else ""
    return Reason(ReasonCode.RUNNING, f"{run.operation} runs as version {seen.version}{tail}")


def _poll_at(at: Situation, run: Run) -> datetime:
    age = max(at.now - run.submitted, timedelta(0))
    poll_at = at.now + min(max(age / 10, POLL_SHORTEST), POLL_LONGEST)
    if run.started is not None and at.observed.status.canceling is None:
        return min(poll_at, max(run.started + at.spec.timeout, at.now + POLL_SHORTEST))
    return poll_at


# ---------------------------------------------------------------- what holds it back


def answer_requests(at: Situation) -> Plan | None:
    """A request by hand that has been dealt with, or can have no effect, is taken away."""
    for request in at.observed.requests:
        note = None
        if request.id in at.observed.status.handled:
            note = ""
        elif request.kind is RequestKind.CANCEL:
            note = f"{request.by} asked to cancel, and nothing was running"
        elif at.spec.suspended:
            note = f"{request.by} asked for a run, and the spec is suspended"
        if note is not None:
            reason = Reason(ReasonCode.TRIGGERED, note or "a request has been dealt with")
            drop = DropRequest(request_id=request.id, note=note)
            return at.plan(State.PROGRESSING, reason, drop)
    return None


def hold_suspended(at: Situation) -> Plan | None:
    """A suspended spec starts nothing."""
    if not at.spec.suspended:
        return None
    reason = Reason(ReasonCode.SUSPENDED, "reconcile.suspend is true; set it to false to go on")
    return at.plan(State.SUSPENDED, reason)


def hold_blocked(at: Situation) -> Plan | None:
    """Nothing starts while what the spec wants cannot be known."""
    blocked = at.desired.blocked
    if blocked is None:
        return None
    state = State.UNKNOWN if blocked.code is ReasonCode.SOURCE_UNAVAILABLE else State.WAITING
    return at.plan(state, blocked, again_at=at.desired.source_again_at)


def hold_back(at: Situation) -> Plan | None:
    """After the API refused us, it is left alone for a while."""
    status = at.observed.status
    if status.hold is None or status.next_attempt is None or at.now >= status.next_attempt:
        return None
    return at.plan(State.UNKNOWN, status.hold, again_at=status.next_attempt)


def hold_unknown_history(at: Situation) -> Plan | None:
    """Where deployments exist that we know nothing of, nothing runs by itself."""
    status, seen = at.observed.status, at.observed.seen
    if status.attempt is not None or status.last_version or at.triggers():
        return None
    if isinstance(seen, Unknown):
        return at.plan(State.UNKNOWN, seen.reason, again_at=seen.again_at)
    if not at.observed.walked_to:
        return None
    reason = Reason(
        ReasonCode.HISTORY_UNKNOWN,
        f"the stack has {at.observed.walked_to} deployments and no status file tells of them; "
        f"`reconciler trigger {at.desired.name}` takes it over",
    )
    return at.plan(State.STALLED, reason)


# ---------------------------------------------------------------- what starts a run


def submit_triggered(at: Situation) -> Plan | None:
    """A person asked for a run."""
    request = next(iter(at.triggers()), None)
    if request is None:
        return None
    wanted = at.spec.request.operation
    operation = request.operation or wanted
    cause = Cause(
        kind=CauseKind.TRIGGER,
        desired=operation is wanted,
        request_id=request.id,
        by=request.by,
    )
    reason = Reason(ReasonCode.TRIGGERED, f"{request.by} asked for {operation}")
    return _start(at, Submit(cause=cause, operation=operation), reason)


def submit_changed(at: Situation) -> Plan | None:
    """What the spec wants is not what was last asked for."""
    attempt, desired = at.observed.status.attempt, at.desired
    submit = Submit(
        cause=Cause(kind=CauseKind.CHANGE, desired=True), operation=at.spec.request.operation
    )
    if attempt is None:
        reason = Reason(ReasonCode.NEW, f"never deployed; the source is at {desired.commit[:12]}")
        return _start(at, submit, reason)
    if attempt.digest != desired.digest and at.spec.on_spec_change:
        differing = changes(attempt.fields, desired.fields)
        if attempt.commit != desired.commit:
            differing += (_source_change(attempt.commit, desired.commit),)
        reason = Reason(ReasonCode.SPEC_CHANGED, "; ".join(differing) or "the spec has changed")
        return _start(at, submit, reason, differing)
    if attempt.commit != desired.commit and at.spec.on_source_change:
        differing = (_source_change(attempt.commit, desired.commit),)
        return _start(at, submit, Reason(ReasonCode.SOURCE_CHANGED, differing[0]), differing)
    return None


def _source_change(old: str, new: str) -> str:
    return f"source commit: {old[:12]} → {new[:12]}"


def rest_stalled(at: Situation) -> Plan | None:
    """What stalled goes on when it is changed, or when a person says so."""
    stalled = at.observed.status.stalled
    if stalled is None:
        return None
    state = State.FAILED if stalled.code is ReasonCode.REFUSED else State.STALLED
    return at.plan(state, stalled, again_at=at.desired.source_again_at)


def retry_failed(at: Situation) -> Plan | None:
    """A failed run is tried again after its backoff."""
    status = at.observed.status
    last = status.last
    if last is None or last.end in {None, RunEnd.SUCCEEDED}:
        return None
    next_attempt = status.next_attempt or at.now
    if at.now < next_attempt:
        reason = Reason(
            ReasonCode.FAILED, f"{last.message}; tried again at {next_attempt:%H:%M:%S} UTC"
        )
        again_at = min(filter(None, (next_attempt, at.desired.source_again_at)))
        return at.plan(State.FAILED, reason, again_at=again_at)
    submit = Submit(
        cause=Cause(kind=CauseKind.RETRY, desired=True), operation=at.spec.request.operation
    )
    limit = at.spec.retry.limit
    reason = Reason(
        ReasonCode.RETRYING, f"try {status.failures + 1} of {limit + 1}; {last.message}"
    )
    return _start(at, submit, reason)


def submit_due_slot(at: Situation) -> Plan | None:
    """A schedule's newest due slot starts one run; those it passes over are recorded."""
    for schedule in at.spec.schedules:
        known = _schedule_status(at, schedule)
        if known is None:
            continue
        due = cron.due_slots(schedule, known.last, at.now, slot_key(at.spec, schedule))
        if not due:
            continue
        slot = due[-1]
        late = at.now - slot
        text = f"schedule {schedule.name} due {slot:%Y-%m-%d %H:%M} UTC"
        deadline = _starting_deadline(schedule)
        if deadline is not None and late > deadline:
            note = f"{text} was missed by more than {deadline}"
            reason = Reason(ReasonCode.SCHEDULE_DUE, note)
            skip = SkipSlots(schedule=schedule.name, until=slot, note=note)
            return at.plan(State.READY, reason, skip)
        cause = Cause(kind=CauseKind.SCHEDULE, desired=False, schedule=schedule.name, slot=slot)
        passed = f"; {len(due) - 1} earlier slots pass" if len(due) > 1 else ""
        return _start(
            at,
            Submit(cause=cause, operation=schedule.operation),
            Reason(ReasonCode.SCHEDULE_DUE, text + passed),
        )
    return None


def _schedule_status(at: Situation, schedule: Schedule) -> ScheduleStatus | None:
    """What is remembered of this very schedule; a new or edited one counts from now on."""
    return next(
        (
            s
            for s in at.observed.status.schedules
            if s.name == schedule.name and s.definition == schedule.definition
        ),
        None,
    )


def _starting_deadline(schedule: Schedule) -> timedelta | None:
    if schedule.operation is Operation.DESTROY:
        return DESTROY_DEADLINE
    return STARTING_DEADLINE if schedule.operation is Operation.UPDATE else None


def _start(at: Situation, submit: Submit, reason: Reason, differing: tuple[str, ...] = ()) -> Plan:
    """Start a run, unless a dependency is not ready."""
    waits = [u for u in at.observed.upstream if u.state is not State.READY]
    if not waits:
        return at.plan(State.PROGRESSING, reason, submit, differing=differing)
    names = ", ".join(
        f"{u.name} (there is no such spec)" if u.missing else f"{u.name} ({u.state})" for u in waits
    )
    held = Reason(ReasonCode.DEPENDENCY, f"waits for {names}; then: {reason.message}")
    return at.plan(State.WAITING, held, again_at=at.desired.source_again_at, differing=differing)


def rest(at: Situation) -> Plan:
    """Nothing is to be done until the source is looked at again or a schedule is due."""
    status = at.observed.status
    again = [at.desired.source_again_at]
    for schedule in at.spec.schedules:
        known = _schedule_status(at, schedule)
        after = at.now if known is None else max(known.last, at.now)
        again.append(cron.next_slot(schedule, after, slot_key(at.spec, schedule)))
    version = status.last.version if status.last is not None else status.last_version
    reason = Reason(
        ReasonCode.UP_TO_DATE, f"version {version} is at {at.desired.commit[:12]}, as wanted"
    )
    return at.plan(State.READY, reason, again_at=min(filter(None, again), default=None))


def slot_key(spec: Spec, schedule: Schedule) -> str:
    """Return what spreads a schedule's `H`: the stack and the schedule's name."""
    return f"{spec.stack} {schedule.name}"


RULES: tuple[Callable[[Situation], Plan | None], ...] = (
    settle_intent,
    follow_run,
    answer_requests,
    hold_suspended,
    hold_blocked,
    hold_back,
    hold_unknown_history,
    submit_triggered,
    submit_changed,
    rest_stalled,
    retry_failed,
    submit_due_slot,
    rest,
)
