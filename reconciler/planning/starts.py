"""Rules for what starts a run: a person, a change, a failure, a dependency, drift. Pure."""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.types import Operation
from reconciler.model import (
    Cause,
    CauseKind,
    OnDependency,
    Plan,
    Reason,
    ReasonCode,
    Response,
    RunEnd,
    State,
    Status,
    Submit,
    Upstream,
)
from reconciler.patience import CLOCK_TOLERANCE, LOCK_LONGEST
from reconciler.planning.digest import changes
from reconciler.planning.gates import start
from reconciler.planning.situation import Situation, expiry, moved, source_change

__all__ = [
    "rest_stalled",
    "retry_failed",
    "submit_approved",
    "submit_changed",
    "submit_drifted",
    "submit_for_dependency",
    "submit_triggered",
]


def submit_triggered(at: Situation) -> Plan | None:
    """A person asked for a run."""
    request = next(iter(at.triggers()), None)
    if request is None:
        return None
    operation = request.operation or _wanted_operation(at)
    cause = Cause(
        kind=CauseKind.TRIGGER,
        desired=request.operation in {None, at.operation},
        request_id=request.id,
        by=request.by,
    )
    reason = Reason(ReasonCode.TRIGGERED, f"{request.by} asked for {operation}")
    return start(at, Submit(cause=cause, operation=operation), reason)


def wait_for_end(at: Situation) -> Plan | None:
    """Where the stack may be at its end, nothing starts before that is known."""
    moment = expiry(at.spec, at.status)
    if moment is None or not at.ending:
        return None
    ends = at.now + at.observed.ends_in
    reason = Reason(
        ReasonCode.EXPIRED,
        f"reconcile.destroyAfter has come: {moment:%Y-%m-%d %H:%M} UTC; from {ends:%H:%M} UTC on "
        "the stack is destroyed: this process has to see for itself first that no clock is wrong",
    )
    return at.plan(State.WAITING, reason, again_at=ends)


def submit_changed(at: Situation) -> Plan | None:
    """What the spec wants is not what was last asked for."""
    attempt, desired = at.status.attempt, at.desired
    if attempt is None:
        reason = Reason(ReasonCode.NEW, f"never deployed; the source is at {desired.commit[:12]}")
        return start(at, _submit(at, CauseKind.NEW), reason)
    if at.expired and at.status.destroyed:
        return None  # what ended stays so, whatever is edited
    source_moved = moved(attempt, desired)
    if attempt.digest != desired.digest and (at.spec.on_spec_change or at.expired):
        differing = changes(attempt.fields, desired.fields)
        if source_moved and not at.expired:
            differing += (source_change(attempt.commit, desired.commit),)
        if at.expired:
            moment = expiry(at.spec, at.status)
            told = f"reconcile.destroyAfter has come: {moment:%Y-%m-%d %H:%M} UTC"
            reason = Reason(ReasonCode.EXPIRED, told)
            return start(at, _submit(at, CauseKind.EXPIRY), reason, differing)
        reason = Reason(ReasonCode.SPEC_CHANGED, "; ".join(differing) or "the spec has changed")
        return start(at, _submit(at, CauseKind.CHANGE), reason, differing)
    if source_moved and at.spec.on_source_change and not at.status.destroyed:
        differing = (source_change(attempt.commit, desired.commit),)
        reason = Reason(ReasonCode.SOURCE_CHANGED, differing[0])
        return start(at, _submit(at, CauseKind.SOURCE), reason, differing)
    return None


def _submit(at: Situation, kind: CauseKind) -> Submit:
    return Submit(cause=Cause(kind=kind, desired=True), operation=_wanted_operation(at))


def _wanted_operation(at: Situation) -> Operation:
    """Return what makes the stack as the spec wants it: over drift that no state holds, too."""
    last, drift = at.status.last, at.status.drift
    unsaved = drift is not None and drift.unsaved
    # A run for drift has taken the word of it away when it began; to try again is the same.
    if last is not None and last.end is not RunEnd.SUCCEEDED:
        unsaved |= last.operation is Operation.REMEDIATE_DRIFT
    refreshes = unsaved and at.operation is Operation.UPDATE
    return Operation.REMEDIATE_DRIFT if refreshes else at.operation


def rest_stalled(at: Situation) -> Plan | None:
    """What stalled goes on when it is changed, or when a person says so."""
    stalled = at.status.stalled
    if stalled is None:
        return None
    state = State.FAILED if stalled.code is ReasonCode.REFUSED else State.STALLED
    return at.wait(state, stalled)


def retry_failed(at: Situation) -> Plan | None:
    """A failed run is tried again after its backoff."""
    status = at.status
    last = status.last
    if last is None or last.end in {None, RunEnd.SUCCEEDED}:
        return None
    next_attempt, retry = status.next_attempt or at.now, at.spec.retry
    longest = max(retry.backoff, retry.max_backoff, LOCK_LONGEST) + CLOCK_TOLERANCE
    # A wait that is longer than any is of a clock that was set back since: it is over.
    if timedelta(0) < next_attempt - at.now <= longest:
        code = ReasonCode.LOCKED if last.end is RunEnd.LOCKED else ReasonCode.FAILED
        state = State.WAITING if last.end is RunEnd.LOCKED else State.FAILED
        reason = Reason(code, f"{last.message}; tried again at {next_attempt:%H:%M:%S} UTC")
        return at.wait(state, reason, next_attempt)
    limit = retry.limit
    if last.end is RunEnd.LOCKED:
        reason = Reason(ReasonCode.RETRYING, f"looks whether the lock is gone; {last.message}")
    else:
        tries = f"try {status.failures + 1} of {limit + 1}"
        reason = Reason(ReasonCode.RETRYING, f"{tries}; {last.message}")
    return start(at, _submit(at, CauseKind.RETRY), reason)


def submit_approved(at: Situation) -> Plan | None:
    """After its preview, a person's approval starts the run itself."""
    last = at.status.last
    if last is None or last.cause.kind is not CauseKind.APPROVAL:
        return None
    if last.end is not RunEnd.SUCCEEDED or not at.attempted:
        return None
    kind = CauseKind.CHANGE if at.status.applied else CauseKind.NEW
    code = ReasonCode.SPEC_CHANGED if at.status.applied else ReasonCode.NEW
    reason = Reason(code, f"{at.operation} at {at.desired.commit[:12]}")
    return start(at, _submit(at, kind), reason)


def submit_for_dependency(at: Situation) -> Plan | None:
    """With `onDependency: run`, what a dependency has newly deployed starts a run."""
    if at.spec.on_dependency is not OnDependency.RUN or at.status.destroyed:
        return None
    newer = [u for u in at.observed.upstream if _has_deployed(u, at.status)]
    if not newer:
        return None
    names = ", ".join(f"{u.name} (version {u.applied})" for u in newer)
    reason = Reason(ReasonCode.DEPENDENCY_CHANGED, f"deployed something new: {names}")
    return start(at, _submit(at, CauseKind.DEPENDENCY), reason)


def _has_deployed(upstream: Upstream, status: Status) -> bool:
    """Whether a dependency has deployed something since the last run for the spec began.

    Its versions count up, but begin anew on another stack, or where the API has lost them. A
    status file that came back from a backup tells a lower one too, of before: that starts nothing.
    """
    if upstream.missing or not upstream.applied:
        return False
    known = status.upstream.get(upstream.name, 0)
    stack = status.upstream_stacks.get(upstream.name, upstream.stack)
    if upstream.applied > known or upstream.stack != stack:
        return True
    last, since = status.last, upstream.since
    if last is None or since is None:
        return False
    return upstream.applied < known and since > last.submitted


def submit_drifted(at: Situation) -> Plan | None:
    """With `onDrift: update`, drift that was found starts one update."""
    drift = at.status.drift
    if drift is None or at.spec.on_drift is not Response.UPDATE or at.status.destroyed:
        return None
    if at.operation is not Operation.UPDATE:
        return None
    reason = Reason(
        ReasonCode.DRIFTED, f"version {drift.version} found drift ({drift.summary or 'changes'})"
    )
    return start(at, _submit(at, CauseKind.DRIFT), reason)
