"""From one status to the next around a run: followed, cancelled, ended. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from reconciler import pulumi_output
from reconciler.api.types import (
    UNSET_TIME,
    Deployment,
    EndingKind,
    JobStatus,
    Operation,
    StepStatus,
)
from reconciler.model import (
    Approval,
    Cancel,
    CancelRecord,
    CauseKind,
    Conclude,
    Drift,
    Reason,
    ReasonCode,
    Retry,
    Run,
    RunEnd,
    Status,
)
from reconciler.patience import LOCK_LONGEST
from reconciler.planning.transitions.creates import scheduled
from reconciler.planning.transitions.notes import handled, noted
from reconciler.values import replace

__all__ = ["cancel_unanswered", "canceling", "concluded", "followed"]

# A line of a log in a message: enough to know what to look for in the whole of it.
TELLING_LENGTH = 200

PULUMI_STEP = "Pulumi operation"
UPDATE_CANCELED = "update canceled"
# What Pulumi says where another one has locked the stack: in a bucket, or at its service.
LOCKED = (
    "the stack is currently locked by",
    "Another update is currently in progress",
)

# A lock is looked at again after 1, 2, 4 … minutes, up to LOCK_LONGEST, and given up after a day.
LOCK_SHORTEST = timedelta(minutes=1)
LOCK_GIVEN_UP = timedelta(hours=24)


def followed(status: Status, deployment: Deployment, now: datetime) -> Status:
    """Remember how the run in flight stands."""
    assert status.run is not None, "a run is followed while it is in flight"  # noqa: S101
    started = min((s.started for s in deployment.steps if s.started != UNSET_TIME), default=None)
    run = replace(
        status.run,
        version=deployment.version,
        status=deployment.status,
        visible=True,
        started=started or status.run.started,
    )
    if run.started is None and deployment.status is JobStatus.RUNNING:
        run = replace(run, started=deployment.modified)
    if run.started is not None and run.seen_running is None:
        run = replace(run, seen_running=now)
    return replace(status, run=run, last_version=max(status.last_version, deployment.version))


def canceling(status: Status, cancel: Cancel, now: datetime) -> Status:
    """Remember that we cancel the run. To be durable before the call."""
    record = CancelRecord(
        by=cancel.by, at=now, timed_out=cancel.timed_out, superseded=cancel.superseded
    )
    return replace(handled(status, cancel.request_id), canceling=record)


def cancel_unanswered(status: Status, cancel: Cancel) -> Status:
    """Forget a cancel that is not known to have arrived, so that it is sent again."""
    ids = tuple(i for i in status.handled if i != cancel.request_id)
    return replace(status, canceling=None, handled=ids)


def concluded(status: Status, conclude: Conclude, retry: Retry, now: datetime) -> Status:
    """Remember how the run ended, and what that means for the next."""
    assert status.run is not None, "a run is concluded once"  # noqa: S101
    run = _ended(status, conclude, now)
    superseded = status.canceling is not None and status.canceling.superseded
    status = replace(
        status,
        run=None,
        latest=run,
        canceling=None,
        last_version=max(status.last_version, run.version),
    )
    told = f"succeeded at {run.commit[:12]}" if _brought(run) else run.message
    status = noted(status, now, f"{_what(run)}: {told}", run.version)
    if _may_have_made(run):
        status = replace(status, made=True)
    if run.cause.schedule:
        status = scheduled(status, run)
    if run.end is RunEnd.SUCCEEDED:
        return _succeeded(status, run, conclude.found, now)
    if status.destroyed and _may_have_made(run):
        # It is no longer known to be gone; what is wanted again lives from its first success on.
        lives_from = None if run.cause.desired else status.first_applied
        status = replace(status, destroyed=False, first_applied=lives_from)
    stalled = _stalled(run, status.name)
    if not run.cause.desired:
        # Whatever it was for, one that was cut off in the middle, or is lost, needs a person.
        needed = run.end in {RunEnd.INTERRUPTED, RunEnd.MISSING}
        return replace(status, stalled=stalled if needed else status.stalled)
    status = replace(status, last=run, stalled=stalled, next_attempt=None)
    if run.end is RunEnd.CANCELED and superseded:
        # What is wanted now starts at once; should it be what was wanted before, that runs again.
        return replace(status, stalled=None)
    if stalled is not None:
        return status
    if run.end is RunEnd.LOCKED:
        return _locked(status, run, now)
    if run.end is RunEnd.SKIPPED:
        return replace(status, next_attempt=now + retry.backoff)
    return _failed(status, run, retry, now)


def _may_have_made(run: Run) -> bool:
    """Whether a run that ended, well or not, may have made resources: if it may have begun."""
    never_began = run.started is None and run.end in {RunEnd.CANCELED, RunEnd.SKIPPED}
    return run.operation.brings_up and not never_began


def _brought(run: Run) -> bool:
    return run.end is RunEnd.SUCCEEDED and run.cause.desired


def _succeeded(status: Status, run: Run, found: str, now: datetime) -> Status:
    """Remember what a success has brought: what is applied, destroyed, drifted, to be approved."""
    was_destroyed = status.destroyed
    if run.operation is Operation.DESTROY:
        status = replace(status, destroyed=True, drift=None)
    elif run.operation.brings_up:
        drift = status.drift
        undone = drift is None or not drift.unsaved or run.operation is Operation.REMEDIATE_DRIFT
        status = replace(status, destroyed=False, drift=None if undone else drift)
    elif run.operation.looks_for_drift:
        unsaved = run.operation is Operation.DETECT_DRIFT
        drift = Drift(version=run.version, found=now, summary=found, unsaved=unsaved)
        drift = drift if found else None
        status = replace(status, drift=drift)
    if not run.cause.desired:
        return status
    status = replace(
        status, last=run, stalled=None, next_attempt=None, failures=0, locked_since=None
    )
    if run.cause.kind is CauseKind.APPROVAL:
        approval = Approval(
            digest=run.digest,
            source=run.source or run.commit,
            operation=Operation.UPDATE,
            version=run.version,
            asked=now,
            summary=found,
        )
        return replace(status, approval=approval)
    applied_at = status.first_applied
    if run.operation.brings_up:
        # A stack that was destroyed and is made again lives from then on.
        # Of the API's clock and ours the later one counts: were the other right, `destroyAfter`
        # would come late. By one that is behind it would destroy too early.
        applied_at = (None if was_destroyed else applied_at) or max(now, run.finished or now)
    return replace(status, applied=run.version, first_applied=applied_at)


def _locked(status: Status, run: Run, now: datetime) -> Status:
    """Remember since when the stack is locked, and look again after twice as long."""
    since = status.locked_since or now
    waited = now - since
    if waited >= LOCK_GIVEN_UP:
        message = (
            f"locked for a day: {run.message}; free it, then `reconciler trigger {status.name}`"
        )
        return replace(status, locked_since=since, stalled=Reason(ReasonCode.LOCKED, message))
    wait = min(max(waited + LOCK_SHORTEST, LOCK_SHORTEST), LOCK_LONGEST)
    return replace(status, locked_since=since, next_attempt=now + wait)


def _failed(status: Status, run: Run, retry: Retry, now: datetime) -> Status:
    failures = status.failures + 1
    if failures > retry.limit:
        tries = f"{failures} tries" if failures > 1 else "1 try"
        reason = Reason(
            ReasonCode.RETRIES_EXHAUSTED,
            f"gave up after {tries}: {run.message}; "
            f"mend the program or the spec, or `reconciler trigger {status.name}`",
        )
        return replace(status, failures=failures, stalled=reason)
    wait = min(retry.backoff * 2 ** min(failures - 1, 30), retry.max_backoff)
    return replace(status, failures=failures, next_attempt=now + wait)


# ---------------------------------------------------------------- how it ended


def _ended(status: Status, conclude: Conclude, now: datetime) -> Run:
    run, deployment = status.run, conclude.deployment
    assert run is not None  # noqa: S101 - the caller has looked
    if deployment is None:
        message = (
            f"the API no longer knows version {run.version} ({run.id}), which it had acknowledged"
        )
        return replace(run, end=RunEnd.MISSING, finished=now, seen_ended=now, message=message)
    failed = next((s.name for s in deployment.steps if s.status is StepStatus.FAILED), "")
    seen = followed(status, deployment, now).run
    assert seen is not None  # noqa: S101 - it was in flight
    end = _run_end(status, deployment, failed, conclude.log)
    return replace(
        seen,
        end=end,
        finished=deployment.modified,
        seen_ended=now,
        step=failed,
        log=conclude.log if end is not RunEnd.SUCCEEDED else (),
        message=_message(end, deployment, conclude, status.canceling),
    )


def _run_end(status: Status, deployment: Deployment, failed: str, log: tuple[str, ...]) -> RunEnd:
    """Say how it ended: by our record, the engine's, or the log's own words, in this order."""
    if deployment.status is JobStatus.SUCCEEDED:
        return RunEnd.SUCCEEDED
    ending = deployment.ending
    if ending is not None and ending.kind is EndingKind.INTERRUPTED:
        return RunEnd.INTERRUPTED
    if status.canceling is not None:
        return RunEnd.TIMED_OUT if status.canceling.timed_out else RunEnd.CANCELED
    if deployment.status is JobStatus.SKIPPED:
        return RunEnd.SKIPPED
    if ending is not None and ending.kind is EndingKind.CANCELED:
        return RunEnd.CANCELED
    if failed == PULUMI_STEP:
        if any(UPDATE_CANCELED in line for line in log):
            return RunEnd.CANCELED
        if any(words in line for line in log for words in LOCKED):
            return RunEnd.LOCKED
    return RunEnd.FAILED


def _message(
    end: RunEnd, deployment: Deployment, conclude: Conclude, record: CancelRecord | None
) -> str:
    own = deployment.ending.message if deployment.ending is not None else ""
    match end:
        case RunEnd.SUCCEEDED:
            return f"succeeded ({conclude.found})" if conclude.found else "succeeded"
        case RunEnd.CANCELED:
            return f"canceled by {record.by}" if record else own or "canceled"
        case RunEnd.TIMED_OUT:
            return "cancelled because it ran for longer than reconcile.timeout"
        case RunEnd.SKIPPED:
            return own or "the API skipped it"
        case RunEnd.LOCKED:
            return _lock(conclude.log)
        case _:
            failed = next((s.name for s in deployment.steps if s.status is StepStatus.FAILED), "")
            where = f"step '{failed}' failed" if failed else "it failed"
            words = own or pulumi_output.failure(conclude.log)[:TELLING_LENGTH]
            return f"{where}: {words}" if words else where


def _lock(log: tuple[str, ...]) -> str:
    """Return who has locked the stack, as Pulumi says it: the line after the one that tells."""
    for number, line in enumerate(log):
        if any(words in line for words in LOCKED):
            holder = next((after.strip() for after in log[number + 1 :] if after.strip()), "")
            by = f" by {holder.rpartition(': ')[2]}" if "created by" in holder else ""
            return f"the stack is locked{by or ' by somebody else'}"[:TELLING_LENGTH]
    return "the stack is locked by somebody else"


def _stalled(run: Run, name: str) -> Reason | None:
    go_on = f"`reconciler trigger {name}` goes on"
    match run.end:
        case RunEnd.INTERRUPTED:
            return Reason(
                ReasonCode.INTERRUPTED,
                f"{run.operation} (version {run.version}) was cut off while Pulumi ran, so "
                f"resources may exist that the state does not know: look at `reconciler logs "
                f"{name}` and at the stack's pending operations; {go_on}",
            )
        case RunEnd.CANCELED:
            return Reason(ReasonCode.CANCELED, f"version {run.version} was {run.message}; {go_on}")
        case RunEnd.TIMED_OUT:
            return Reason(ReasonCode.TIMED_OUT, f"version {run.version} was {run.message}; {go_on}")
        case RunEnd.MISSING:
            return Reason(
                ReasonCode.HISTORY_LOST,
                f"{run.message}: data was lost on that side; look there first; {go_on}",
            )
        case _:
            return None


def _what(run: Run) -> str:
    if run.cause.schedule:
        return f"{run.operation} of schedule {run.cause.schedule}"
    return f"{run.operation} asked for by {run.cause.by}" if run.cause.by else str(run.operation)
