"""Rules for runs of ours that are not followed: one too many, or one that no status tells of. Pure.

Where a status is older than what was run (it came back from a backup), where another process
reconciles in our name, or where an answer to a create was not the API's own, the API shows our
marker on a run that we do not know. Nothing starts beside it. If it is what would be started, it
is taken up as that; else its end is waited for and told, as anybody else's is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from reconciler.api.types import MARKER_PREFIX, UNSET_TIME, Deployment, JobStatus
from reconciler.model import (
    CauseKind,
    ForeignRun,
    Notice,
    Plan,
    Reason,
    ReasonCode,
    Recall,
    RunEnd,
    SkipSlots,
    State,
    Submit,
)
from reconciler.patience import CLOCK_TOLERANCE
from reconciler.planning import slots
from reconciler.planning.situation import Situation
from reconciler.planning.underway import cancel_sent

__all__ = ["leave", "leave_stalled", "notice", "take_up"]

# How often one that has not ended is looked at again.
LOOK_AGAIN: Final = timedelta(seconds=10)

# What these answer may have come after the run was asked for: only its own status tells.
_OF_A_MOMENT: Final = frozenset({CauseKind.DEPENDENCY, CauseKind.DRIFT, CauseKind.FOREIGN})

_WHO: Final = "a run of ours that is not remembered"


def notice(at: Situation) -> Plan | None:
    """What cannot be what is wanted now is waited for, and told, before all else."""
    stray = at.history.stray if at.history is not None else None
    if stray is None:
        return None
    lost = at.status.latest
    if lost is not None and lost.end is RunEnd.MISSING and lost.id == stray.id:
        told = f"version {stray.version}, which was nowhere to be found, is there again"
        recall = Recall(cause=lost.cause, operation=lost.operation, deployment=stray)
        return at.plan(State.PROGRESSING, Reason(ReasonCode.RUNNING, told), recall)
    if _is_double(at, stray):
        return _notice_double(at, stray)
    return None if _may_be_wanted(at, stray) else _wait_or_tell(at, stray)


def take_up(at: Situation, submit: Submit, reason: Reason) -> Plan | None:
    """What would be started may run already, or have run: a second one would be one too many."""
    stray = at.history.stray if at.history is not None else None
    if stray is None or _is_double(at, stray):
        return None
    if not _is_wanted(at, submit, stray):
        return _wait_or_tell(at, stray)
    told = f"version {stray.version} carries our marker, and is what is wanted: {reason.message}"
    recall = Recall(cause=submit.cause, operation=submit.operation, deployment=stray)
    return at.plan(State.PROGRESSING, Reason(ReasonCode.RUNNING, told), recall)


def leave(at: Situation) -> Plan | None:
    """What nothing asks for any more is told when it has ended."""
    stray = at.history.stray if at.history is not None else None
    return _wait_or_tell(at, stray) if stray is not None and stray.status.ended else None


def leave_stalled(at: Situation) -> Plan | None:
    """Where nothing starts by itself, there is nothing that it could have been asked for."""
    return leave(at) if at.status.stalled is not None else None


# ---------------------------------------------------------------- one too many


def _is_double(at: Situation, stray: Deployment) -> bool:
    status = at.status
    known = (status.run, status.last, status.latest)
    return any(run is not None and run.marker == stray.marker for run in known)


def _notice_double(at: Situation, double: Deployment) -> Plan:
    """A request of ours that arrived twice: the end of the second is waited for, and noted."""
    told = f"version {double.version} is a request of ours that arrived twice"
    if not double.status.ended:
        how = "is cancelled" if double.status.queued else "runs"
        reason = Reason(ReasonCode.FOREIGN_RUNNING, f"{told}, and {how}; waits for its end")
        return at.plan(State.WAITING, reason, again_at=at.now + LOOK_AGAIN)
    ran = any(step.started != UNSET_TIME for step in double.steps)
    # That it was cancelled has been noted; what ran all the same is told of beside that.
    note = f"{told}: both ran" if ran else "" if cancel_sent(at, double) else f"{told}: one ran"
    notice = Notice(latest=double.version, note=note)
    return at.plan(State.PROGRESSING, Reason(ReasonCode.RUNNING, told), notice)


# ---------------------------------------------------------------- one that is not remembered


def _may_be_wanted(at: Situation, stray: Deployment) -> bool:
    """Whether it was asked for with the request and the commit that are wanted now."""
    return _of(stray) == (at.desired.digest[:8], at.desired.commit)


def _of(stray: Deployment) -> tuple[str, str]:
    """Return the beginning of the digest that one of ours was asked for, and its commit."""
    digest = stray.marker.removeprefix(MARKER_PREFIX).rpartition("_")[2]
    return digest, stray.source.commit if stray.source is not None else ""


def _is_wanted(at: Situation, submit: Submit, stray: Deployment) -> bool:
    """Whether it is the very run that would be started now."""
    if not _may_be_wanted(at, stray) or stray.operation is not submit.operation:
        return False
    if submit.cause.kind in _OF_A_MOMENT:
        return False
    since = _asked(at, submit)
    return since is None or stray.created + CLOCK_TOLERANCE >= since


def _asked(at: Situation, submit: Submit) -> datetime | None:
    """Return from when on a run may be that of a slot or a person's; None: at any time."""
    cause = submit.cause
    if cause.request_id:
        return next((r.at for r in at.observed.requests if r.id == cause.request_id), None)
    return cause.slot


def _wait_or_tell(at: Situation, stray: Deployment) -> Plan:
    operation, version = stray.operation, stray.version
    what = f"{operation or 'a deployment'} of {_WHO}"
    if not stray.status.ended:
        reason = Reason(ReasonCode.FOREIGN_RUNNING, f"waits for version {version}, {what}")
        return at.plan(State.WAITING, reason, again_at=at.now + LOOK_AGAIN)
    passed = _pass_slots(at, stray)
    if passed is not None:
        return passed
    told = f"version {version} was {what}: {stray.status}"
    attempt = at.status.attempt
    same = attempt is not None and _of(stray) == (attempt.digest[:8], attempt.commit)
    looked = operation is not None and operation.changes_nothing
    if same or looked or stray.status is JobStatus.SKIPPED:
        notice = Notice(latest=version, note=told)
    else:
        # The stack is at what nobody remembers, as after somebody else's deployment.
        foreign = ForeignRun(version=version, by=_WHO, operation=operation)
        notice = Notice(latest=version, foreign=foreign)
    return at.plan(State.PROGRESSING, Reason(ReasonCode.FOREIGN_CHANGE, told), notice)


def _pass_slots(at: Situation, stray: Deployment) -> Plan | None:
    """A slot whose operation ran since is not run again, whatever was wanted at its time."""
    for schedule in at.spec.schedules:
        known = at.remembered(schedule)
        if known is None or at.spec.run_for(schedule.operation) is not stray.operation:
            continue
        until = min(stray.created + CLOCK_TOLERANCE, at.now)
        due = slots.due(schedule, known.last, until, slots.slot_key(at.spec, schedule))
        if due:
            note = f"schedule {schedule.name} due {due[-1]:%Y-%m-%d %H:%M} UTC passed over"
            note = f"{note}: version {stray.version}, {_WHO}, came after it"
            skip = SkipSlots(schedule=schedule.name, until=due[-1], note=note)
            return at.plan(State.PROGRESSING, Reason(ReasonCode.SCHEDULE_DUE, note), skip)
    return None
