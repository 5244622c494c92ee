"""Rules for what is under way: an unanswered create, and the run in flight. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from reconciler.api.types import Deployment, JobStatus, StepStatus
from reconciler.model import (
    Abandon,
    Adopt,
    Cancel,
    CancelDouble,
    Conclude,
    Desired,
    DropRequest,
    Follow,
    HandRequest,
    Intent,
    Observed,
    Plan,
    Reason,
    ReasonCode,
    RequestKind,
    Run,
    State,
    Submit,
    Unknown,
    WhileRunning,
)
from reconciler.patience import CLOCK_TOLERANCE
from reconciler.planning.situation import Rule, Situation, first_answer, moved, same_wanted
from reconciler.values import replace

__all__ = ["asked_again", "cancel_double", "cancel_sent", "follow_run", "settle_intent"]

# Told of and not seen is late, not finished. Nowhere for this long it is lost: no list lags so far.
VISIBLE_WITHIN = timedelta(minutes=10)

# A running deployment is looked at again after a tenth of its age: soon for the short ones,
# which people wait for, and seldom for the long ones.
POLL_SHORTEST = timedelta(milliseconds=250)
POLL_LONGEST = timedelta(seconds=5)

# A cancel that shows no effect may never have been sent. It may also take its grace.
CANCEL_AGAIN_AFTER = timedelta(seconds=30)


def settle_intent(at: Situation) -> Plan | None:
    """An unanswered create is settled first: found, or asked for again after a while."""
    intent, seen = at.status.intent, at.observed.seen
    if intent is None:
        return None
    if isinstance(seen, Unknown):
        return at.unknown(seen)
    if seen is not None:
        reason = Reason(ReasonCode.RUNNING, f"found again as version {seen.version}")
        return at.plan(State.PROGRESSING, reason, Adopt(deployment=seen))
    if at.observed.settles_in > timedelta(0):
        reason = Reason(
            ReasonCode.SETTLING,
            f"the create of {intent.at:%H:%M:%S} had no answer; it may still come through",
        )
        return at.plan(State.PROGRESSING, reason, again_at=at.now + at.observed.settles_in)
    if at.desired.blocked is not None:
        return at.wait(State.WAITING, at.desired.blocked)
    reason = Reason(ReasonCode.SETTLING, "the create had no answer and is nowhere; asking again")
    again = Submit(cause=intent.cause, operation=intent.operation, again=intent)
    return at.plan(State.PROGRESSING, reason, again)


def wait_for_sender(desired: Desired, observed: Observed, now: datetime, sender: str) -> Plan:
    """What `sender` asked of this stack before is settled first, or two would run on it."""
    reason = Reason(
        ReasonCode.SETTLING,
        f"a create that {sender} sent for this stack had no answer; it may still come through",
    )
    return Situation(desired, observed, now).plan(
        State.WAITING, reason, again_at=now + POLL_LONGEST
    )


def asked_again(found: Plan, at: Situation, rules: Sequence[Rule]) -> Plan:
    """Return the plan, where it asks for a create again only if the rules would ask for it now.

    Hours may have gone by since: whatever holds back a run, or has made it needless, counts for
    this one as for any. What is not asked for again is forgotten, and its cause decided anew.
    """
    intent = at.status.intent
    if intent is None or not any(isinstance(action, Submit) for action in found.actions):
        return found
    cancel = next((r for r in at.requests(RequestKind.CANCEL) if _is_for(r, intent)), None)
    if cancel is not None:
        note = f"cancelled by {cancel.by} before it had come through"
        abandon = Abandon(note=note, by=cancel.by, request_id=cancel.id)
        return at.plan(State.PROGRESSING, Reason(ReasonCode.CANCELING, note), abandon)
    without = replace(at.observed, status=replace(at.status, intent=None))
    fresh = first_answer(rules, Situation(at.desired, without, at.now))
    if fresh.needs_history:
        return at.need_history(found)
    if fresh.state is State.UNKNOWN and not fresh.actions:
        return fresh
    wanted = (intent.cause, intent.operation)
    asked = [(a.cause, a.operation) for a in fresh.actions if isinstance(a, Submit)]
    if wanted in asked and same_wanted(intent.attempt, at.desired):
        return found
    note = "a create without an answer did not come through, and is no longer wanted"
    reason = Reason(ReasonCode.SETTLING, note)
    return at.plan(State.PROGRESSING, reason, Abandon(note=note))


def follow_run(at: Situation) -> Plan | None:
    """A run in flight is followed to its end; nothing else starts before it."""
    run, seen = at.status.run, at.observed.seen
    if run is None:
        return None
    if isinstance(seen, Unknown):
        return at.unknown(seen)
    if seen is None:
        return _wait_until_visible(at, run)
    if seen.status.ended:
        reason = Reason(ReasonCode.RUNNING, f"version {seen.version} ended: {seen.status}")
        conclude = Conclude(deployment=seen, log=at.observed.log, found=at.observed.found)
        return at.plan(State.PROGRESSING, reason, conclude)
    if seen.status is not run.status or not run.visible or run.version != seen.version:
        return at.plan(State.PROGRESSING, _progress(run, seen), Follow(deployment=seen))
    act = (
        _cancel_by_hand(at, run)
        or cancel_double(at)
        or _cancel_by_time(at, run)
        or _cancel_superseded(at, run)
        or _cancel_again(at, run)
    )
    if act is not None:
        return act
    if at.observed.paused and seen.status is JobStatus.NOT_STARTED:
        reason = Reason(
            ReasonCode.PAUSED,
            f"{run.operation} is queued as version {seen.version}, and deployments of this stack "
            "are paused there; resume them to go on",
        )
        return at.plan(State.WAITING, reason, again_at=at.now + POLL_LONGEST)
    return at.plan(State.PROGRESSING, _waiting_for(at, run, seen), again_at=_poll_at(at, run))


def _wait_until_visible(at: Situation, run: Run) -> Plan:
    left = VISIBLE_WITHIN - at.observed.missing_for
    if left <= timedelta(0):
        reason = Reason(ReasonCode.HISTORY_LOST, f"version {run.version} is nowhere to be found")
        return at.plan(State.STALLED, reason, Conclude(deployment=None))
    known = "seen and is not visible now" if run.visible else "acknowledged and is not visible yet"
    reason = Reason(ReasonCode.NOT_YET_VISIBLE, f"version {run.version} was {known}")
    return at.plan(State.PROGRESSING, reason, again_at=at.now + min(left, POLL_LONGEST))


def _cancel_by_hand(at: Situation, run: Run) -> Plan | None:
    request = next(iter(at.requests(RequestKind.CANCEL)), None)
    if request is None:
        return None
    if not _is_for(request, run):
        note = (
            f"{request.by} asked to cancel a run that has ended, and version {run.version} runs by "
            f"now; `reconciler cancel {at.spec.name}` cancels that one"
        )
        drop = DropRequest(request_id=request.id, note=note)
        return at.plan(State.PROGRESSING, Reason(ReasonCode.CANCELING, note), drop)
    if at.status.canceling is not None or request.id in at.status.handled:
        reason = Reason(ReasonCode.CANCELING, "the request to cancel has been dealt with")
        return at.plan(State.PROGRESSING, reason, DropRequest(request_id=request.id))
    return at.plan(
        State.PROGRESSING,
        Reason(ReasonCode.CANCELING, f"{request.by} cancels version {run.version}"),
        Cancel(deployment_id=run.id, by=request.by, request_id=request.id),
    )


def _is_for(request: HandRequest, run: Run | Intent) -> bool:
    """Whether a cancel is for this run: not for one that has followed the one that was meant."""
    ids = {run.run_id, run.id} if isinstance(run, Run) else {run.run_id}
    return not request.binds or request.binds in ids


def cancel_double(at: Situation) -> Plan | None:
    """A request that arrived twice has made two; the one that has not started goes."""
    double = at.history.double if at.history is not None else None
    if double is None:
        return None
    sent = cancel_sent(at, double)
    if sent is not None and _may_work(sent, at.now):
        return None
    told = f"version {double.version} is a request of ours that arrived twice"
    cancel = CancelDouble(deployment_id=double.id, version=double.version)
    return at.plan(State.PROGRESSING, Reason(ReasonCode.CANCELING, told), cancel)


def cancel_sent(at: Situation, double: Deployment) -> datetime | None:
    """Return when a double was last cancelled, which the short history tells; None: never."""
    newest = reversed(at.status.history)  # by no clock: that may have been set back
    return next((entry.at for entry in newest if entry.version == double.version), None)


def _may_work(sent: datetime, now: datetime) -> bool:
    """Whether a cancel that shows no effect may have one yet."""
    wait = sent + CANCEL_AGAIN_AFTER - now
    # More than it begins with: the clock was set back.
    return timedelta(0) < wait <= CANCEL_AGAIN_AFTER + CLOCK_TOLERANCE


def _cancel_by_time(at: Situation, run: Run) -> Plan | None:
    if run.seen_running is None or at.status.canceling is not None:
        return None
    if at.observed.running_for < at.spec.timeout:
        return None
    reason = Reason(
        ReasonCode.CANCELING,
        f"version {run.version} runs for longer than reconcile.timeout ({at.spec.timeout})",
    )
    cancel = Cancel(deployment_id=run.id, by="reconcile.timeout", timed_out=True)
    return at.plan(State.PROGRESSING, reason, cancel)


def _cancel_superseded(at: Situation, run: Run) -> Plan | None:
    """With `whileRunning: cancel` a change cancels the run that it makes needless."""
    if at.spec.while_running is not WhileRunning.CANCEL or at.status.canceling is not None:
        return None
    if not run.cause.desired or at.desired.blocked is not None:
        return None
    changed = run.digest != at.desired.digest and at.spec.on_spec_change
    source_moved = moved(run, at.desired) and at.spec.on_source_change
    if not (changed or source_moved):
        return None
    what = "the spec" if changed else "the source"
    reason = Reason(
        ReasonCode.CANCELING,
        f"{what} has changed while version {run.version} runs (reconcile.whileRunning: cancel)",
    )
    cancel = Cancel(deployment_id=run.id, by="reconcile.whileRunning", superseded=True)
    return at.plan(State.PROGRESSING, reason, cancel)


def _cancel_again(at: Situation, run: Run) -> Plan | None:
    """A crash may have come between the record and the call; cancelling twice is harmless."""
    record = at.status.canceling
    if record is None or _may_work(record.at, at.now):
        return None
    cancel = Cancel(
        deployment_id=run.id,
        by=record.by,
        timed_out=record.timed_out,
        superseded=record.superseded,
    )
    reason = Reason(ReasonCode.CANCELING, f"version {run.version} still runs; cancelling again")
    return at.plan(State.PROGRESSING, reason, cancel)


def _waiting_for(at: Situation, run: Run, seen: Deployment) -> Reason:
    canceling = at.status.canceling
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
    if run.seen_running is not None and at.status.canceling is None:
        left = at.spec.timeout - at.observed.running_for
        return min(poll_at, at.now + max(left, POLL_SHORTEST))
    return poll_at
