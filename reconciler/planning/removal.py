"""What to do about a stack whose spec's file is gone. Pure.

A missing file may be a checkout under way, an unmounted disk or a slip: it counts as removed
after ten minutes of looking, or where a commit says so. What the disk tells of those minutes is
told by a clock that somebody may have set, or by a process that was gone for an hour: so the
process that acts must have seen the file missing itself, for as long as it can. Then its stack
is kept as it is, or with `onDelete: destroy` destroyed, from the last good spec; then it is
forgotten. A stack that another spec claims is never touched.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reconciler.api.types import Operation
from reconciler.model import (
    Abandon,
    Cancel,
    Cause,
    CauseKind,
    Desired,
    DropRequest,
    Forget,
    MarkRemoved,
    Observed,
    OnDelete,
    Plan,
    Reason,
    ReasonCode,
    Removal,
    RequestKind,
    Run,
    State,
    Status,
    Submit,
    Unknown,
)
from reconciler.planning import holds, starts, underway
from reconciler.planning.gates import start
from reconciler.planning.remembered import may_be_there
from reconciler.planning.situation import Rule, Situation, first_answer
from reconciler.values import replace

__all__ = ["GONE_AFTER", "ONCE_LOOKS", "counts", "plan_contested", "plan_removal"]

# Longer than any checkout or rollout of files takes, and short enough to wait for.
GONE_AFTER: Final = timedelta(minutes=10)

# A process that lives for seconds (`run --once`, by cron) never sees so much. That another one saw
# the file missing ten minutes ago, it takes from the disk; whether it is only missing for a
# moment now, it sees itself: a file is replaced in less.
ONCE_LOOKS: Final = timedelta(minutes=1)

# A queued run whose removal is held back may begin to run in the meantime.
LOOK_AGAIN: Final = timedelta(seconds=10)


def plan_removal(desired: Desired, observed: Observed, now: datetime, claimed_by: str) -> Plan:
    """Say what to do about one removed spec, and why.

    `desired` is made of `remembered.spec_of`; `claimed_by` is the spec that claims its stack now.
    """
    at = Situation(desired, observed, now)
    if claimed_by and observed.status.intent is None:
        note = f"the file is gone, and its stack is {claimed_by}'s"
        return at.plan(State.READY, Reason(ReasonCode.REMOVED, note), Forget(note=note))
    if claimed_by:
        return _settle_for(at, claimed_by)
    return underway.asked_again(first_answer(RULES, at), at, RULES)


def _settle_for(at: Situation, claimed_by: str) -> Plan:
    """Settle a create without an answer for whose the stack is now: it is not asked for again.

    So nothing that it would need for that is waited for.
    """
    free = Situation(replace(at.desired, blocked=None), at.observed, at.now)
    found = first_answer((underway.settle_intent,), free)
    if not any(isinstance(action, Submit) for action in found.actions):
        return found
    note = f"a create without an answer did not come through, and its stack is {claimed_by}'s"
    return at.plan(State.PROGRESSING, Reason(ReasonCode.REMOVED, note), Abandon(note=note))


def plan_contested(desired: Desired, observed: Observed, now: datetime, rival: str) -> Plan:
    """Say what to do about one whose file is gone, while `rival` waits for its stack.

    What is under way is followed, and nothing begins or is forgotten: the file may be back in a
    moment, or `rival` be this one by another name.
    """
    at = Situation(desired, observed, now)

    def wait(at: Situation) -> Plan:
        removal = at.status.removal
        counts_from = _counts_from(at, removal) if removal is not None else now
        reason = Reason(ReasonCode.REMOVED, f"the file is gone, and {rival} claims its stack")
        return at.plan(State.WAITING, reason, again_at=counts_from if counts_from > now else None)

    def settle(at: Situation) -> Plan | None:
        return _settle_for(at, rival) if at.status.intent is not None else None

    return first_answer((count_missing, settle, underway.follow_run, wait), at)


def counts(status: Status, gone_in: timedelta, now: datetime) -> bool:
    """Whether a missing file counts as removed; `gone_in` is of `Observed`."""
    removal = status.removal
    if removal is None:
        return False
    if removal.confirmed or removal.begun is not None:
        return True
    return now >= removal.since + GONE_AFTER and gone_in <= timedelta(0)


def _destroys(at: Situation) -> bool:
    # Who asks for previews alone asks for nothing to be taken away.
    return at.spec.on_delete is OnDelete.DESTROY and not at.spec.dry_run


def _although(at: Situation) -> str:
    """Say why a stack is kept that the spec would have destroyed."""
    if at.spec.on_delete is OnDelete.KEEP or _destroys(at):
        return ""
    return " (reconcile.dryRun goes before onDelete: destroy)"


def _counts_from(at: Situation, removal: Removal) -> datetime:
    """Return from when on a missing file counts as removed, where it does not come back."""
    if removal.confirmed:
        return at.now
    return max(removal.since + GONE_AFTER, at.now + at.observed.gone_in)


def _looking(at: Situation, removal: Removal) -> str:
    """Say why a file that is gone for long by the clock is waited for all the same."""
    if at.now < removal.since + GONE_AFTER:
        return ""
    return ": this process has to see for itself first that it does not come back"


def count_missing(at: Situation) -> Plan | None:
    """Since when a file is missing is remembered first, whatever is under way."""
    if at.status.removal is not None:
        return None
    reason = Reason(ReasonCode.REMOVED, "the file is gone")
    return at.plan(State.WAITING, reason, MarkRemoved())


def cancel_queued(at: Situation) -> Plan | None:
    """What is queued for a stack that is kept has lost its reason."""
    run, removal, seen = at.status.run, at.status.removal, at.observed.seen
    if run is None or removal is None or at.status.canceling is not None:
        return None
    if _destroys(at) or seen is None or isinstance(seen, Unknown):
        return None
    if not seen.status.queued:
        return None
    if removal.begun is not None:
        return _cancel(at, run)
    if at.now < _counts_from(at, removal):
        return None
    reason = Reason(ReasonCode.REMOVED, f"the file is gone: version {run.version} is not wanted")
    begin = MarkRemoved(begun=True)
    return at.plan(State.PROGRESSING, reason, begin, again_at=at.now + LOOK_AGAIN)


def _cancel(at: Situation, run: Run) -> Plan:
    cancel = Cancel(deployment_id=run.id, by="the removal of its spec", superseded=True)
    reason = Reason(ReasonCode.REMOVED, f"the file is gone: version {run.version} is cancelled")
    return at.plan(State.PROGRESSING, reason, cancel)


def wait_for_files(at: Situation) -> Plan | None:
    """A file that is missing is not removed yet: it may come back."""
    removal = at.status.removal
    if removal is None or removal.begun is not None:
        return None
    counts_from = _counts_from(at, removal)
    if at.now < counts_from:
        kept = f"kept as it is and forgotten{_although(at)}"
        what = "destroyed (onDelete: destroy)" if _destroys(at) else kept
        reason = Reason(
            ReasonCode.REMOVED,
            f"the file is gone since {removal.since:%H:%M} UTC; from {counts_from:%H:%M} UTC on "
            f"its stack is {what}{_looking(at, removal)}",
        )
        return at.plan(State.WAITING, reason, again_at=counts_from)
    what = "is destroyed" if _destroys(at) else "is kept as it is"
    reason = Reason(ReasonCode.REMOVED, f"the file is gone: its stack {what}")
    return at.plan(State.PROGRESSING, reason, MarkRemoved(begun=True))


def adopt_nothing(at: Situation) -> Plan | None:
    """A stack whose spec is removed is taken over by nobody."""
    request = next(iter(at.requests(RequestKind.ADOPT)), None)
    if request is None:
        return None
    note = f"{request.by} asked to adopt it, and its file is gone"
    drop = DropRequest(request_id=request.id, note=note)
    return at.plan(State.PROGRESSING, Reason(ReasonCode.REMOVED, note), drop)


def keep(at: Situation) -> Plan | None:
    """A stack that is kept is left as it is."""
    if _destroys(at) and may_be_there(at.status):
        return None
    note = f"the file is gone; its stack is kept as it is{_although(at)}"
    if _destroys(at):
        note = "the file is gone, and its stack was never deployed"
    return at.plan(State.READY, Reason(ReasonCode.REMOVED, note), Forget(note=note))


def forget_destroyed(at: Situation) -> Plan | None:
    """Once destroyed, nothing is left to remember."""
    if not at.status.destroyed:
        return None
    note = "the file is gone, and its stack is destroyed"
    return at.plan(State.READY, Reason(ReasonCode.REMOVED, note), Forget(note=note))


def leave_to_others(at: Situation) -> Plan | None:
    """A stack that another owner reconciles by now is left to them."""
    foreign = holds.kept_by_another(at.status)
    if foreign is None:
        return None
    note = f"the file is gone, and its stack is reconciled by another owner, {foreign.owner}"
    return at.plan(State.READY, Reason(ReasonCode.REMOVED, note), Forget(note=note))


def destroy_triggered(at: Situation) -> Plan | None:
    """A person says that the destroy shall go on."""
    request = next(iter(at.triggers()), None)
    if request is None:
        return None
    cause = Cause(kind=CauseKind.TRIGGER, desired=True, request_id=request.id, by=request.by)
    reason = Reason(ReasonCode.TRIGGERED, f"{request.by} asked for the destroy to go on")
    return start(at, Submit(cause=cause, operation=Operation.DESTROY), reason)


def destroy(at: Situation) -> Plan:
    """The stack is destroyed, from what it was last made of."""
    reason = Reason(ReasonCode.REMOVED, "the file is gone: destroys its stack (onDelete: destroy)")
    cause = Cause(kind=CauseKind.REMOVAL, desired=True)
    return start(at, Submit(cause=cause, operation=Operation.DESTROY), reason)


def retry(at: Situation) -> Plan | None:
    """A destroy that failed is tried again as any run is; one of before does not count."""
    last = at.status.last
    ours = last is not None and last.operation is Operation.DESTROY and at.attempted
    return starts.retry_failed(at) if ours else None


def rest_stalled(at: Situation) -> Plan | None:
    """A destroy that stalled waits for a person; what stalled before it does not count."""
    last = at.status.last
    if last is None or last.operation is not Operation.DESTROY or not at.attempted:
        return None
    return starts.rest_stalled(at)


RULES: Final[tuple[Rule, ...]] = (
    count_missing,
    underway.settle_intent,
    cancel_queued,
    underway.follow_run,
    wait_for_files,
    holds.answer_requests,
    adopt_nothing,
    keep,
    forget_destroyed,
    holds.hold_suspended,
    holds.hold_blocked,
    holds.hold_back,
    holds.notice_others,
    leave_to_others,
    holds.wait_for_others,
    destroy_triggered,
    rest_stalled,
    retry,
    destroy,
)
