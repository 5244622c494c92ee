"""What is remembered after something happened: from one status to the next. Pure.

The planner's twin: it says what to do, this says what to remember of what was done. Every
function takes the status and gives the next one; writing it is up to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler import cron
from reconciler.api.types import (
    MARKER_PREFIX,
    UNSET_TIME,
    Created,
    Deployment,
    EndingKind,
    JobStatus,
    StepStatus,
)
from reconciler.errors import RefusedError
from reconciler.model import (
    Attempt,
    Cancel,
    CancelRecord,
    Conclude,
    Condition,
    Desired,
    HistoryEntry,
    Intent,
    Plan,
    Reason,
    ReasonCode,
    Retry,
    Run,
    RunEnd,
    ScheduleStatus,
    SkipSlots,
    Spec,
    State,
    Status,
    Submit,
)
from reconciler.planning.planner import slot_key

__all__ = [
    "RunName",
    "abandoned",
    "accepted",
    "adopted",
    "begun",
    "cancel_unanswered",
    "canceling",
    "concluded",
    "followed",
    "handled",
    "lost",
    "prepared",
    "refused",
    "set_aside",
    "skipped",
    "verdict",
]

# What a person may want to see at a glance; the log has the rest.
HISTORY_LINES = 10
HANDLED_REQUESTS = 20

# How long the API is left alone after it refused the token or the path; it says so itself
# for the others (Retry-After), and is asked again after this long where it does not.
PROBE_AFTER = timedelta(minutes=1)
LONGEST_RETRY_AFTER = timedelta(hours=1)

# A refusal with one of these is about the request: the same again would be refused again.
REQUEST_REFUSED = frozenset({400, 402, 405, 406, 409, 410, 411, 413, 414, 415, 422})
ACCESS_REFUSED = frozenset({401, 403, 404})

# A line of a log in a message: enough to know what to look for in the whole of it.
TELLING_LENGTH = 200

PULUMI_STEP = "Pulumi operation"
UPDATE_CANCELED = "update canceled"


@dataclass(frozen=True, slots=True)
class RunName:
    """How a run is named: who reconciles, and an id made for this run."""

    owner: str
    run_id: str

    def marker(self, digest: str) -> str:
        """Return the variable's name that carries it."""
        return f"{MARKER_PREFIX}{self.owner}_{self.run_id}_{digest[:8]}"


def prepared(status: Status, spec: Spec, now: datetime) -> Status:
    """Fit what is remembered to the spec.

    Another stack starts afresh; a new or edited schedule counts from now.
    """
    if status.stack and status.stack != str(spec.stack):
        note = f"the spec's stack was {status.stack}, which is left as it is"
        status = _noted(
            Status(name=status.name, generation=status.generation, history=status.history),
            now,
            note,
        )
    known = {s.name: s for s in status.schedules}
    schedules = []
    for schedule in spec.schedules:
        old = known.get(schedule.name)
        if old is None or old.definition != schedule.definition:
            old = ScheduleStatus(name=schedule.name, definition=schedule.definition, last=now)
        # A clock that was set back does not bring slots again.
        after = max(old.last, now)
        following = cron.next_slot(schedule, after, slot_key(spec, schedule))
        schedules.append(replace(old, next=following))
    return replace(status, stack=str(spec.stack), schedules=tuple(schedules))


# ---------------------------------------------------------------- a create


def begun(status: Status, submit: Submit, desired: Desired, name: RunName, now: datetime) -> Status:
    """Remember that we are about to ask for a deployment. To be durable before the POST."""
    if submit.again is not None:
        return replace(status, intent=replace(submit.again, at=now))
    intent = Intent(
        run_id=name.run_id,
        marker=name.marker(desired.digest),
        cause=submit.cause,
        operation=submit.operation,
        attempt=Attempt(digest=desired.digest, commit=desired.commit, fields=dict(desired.fields)),
        after_version=status.last_version,
        at=now,
    )
    return replace(status, intent=intent)


def accepted(status: Status, created: Created, now: datetime) -> Status:
    """Remember the answer to the create: it is a run of ours now."""
    intent = _intent(status)
    run = replace(
        _run(intent), id=created.id, version=created.version, url=created.console_url, submitted=now
    )
    return _in_flight(status, intent, run)


def adopted(status: Status, deployment: Deployment, now: datetime) -> Status:
    """Remember that the deployment with the intent's marker is the run we asked for."""
    intent = _intent(status)
    run = replace(_run(intent), id=deployment.id, version=deployment.version)
    note = f"version {deployment.version} was found again after its create had no answer"
    return _noted(_in_flight(status, intent, run), now, note, deployment.version)


def _run(intent: Intent) -> Run:
    """Return the run that the intent stands for, before the API has said anything of it."""
    return Run(
        run_id=intent.run_id,
        cause=intent.cause,
        operation=intent.operation,
        commit=intent.attempt.commit,
        id="",
        version=0,
        url="",
        submitted=intent.at,
    )


def _in_flight(status: Status, intent: Intent, run: Run) -> Status:
    status = _taken_up(status, intent)
    fresh = intent.cause.desired and not _same(intent.attempt, status.attempt)
    return replace(
        status,
        intent=None,
        run=run,
        hold=None,
        stalled=None if intent.cause.desired else status.stalled,
        next_attempt=None if intent.cause.desired else status.next_attempt,
        failures=0 if fresh or intent.cause.by else status.failures,
        attempt=intent.attempt if intent.cause.desired else status.attempt,
        last_version=max(status.last_version, run.version),
    )


def _same(one: Attempt, other: Attempt | None) -> bool:
    return other is not None and (one.digest, one.commit) == (other.digest, other.commit)


def _taken_up(status: Status, intent: Intent) -> Status:
    """Remember what the run was for, so that nothing starts a second one for it."""
    cause = intent.cause
    if cause.request_id:
        status = handled(status, cause.request_id)
    if cause.slot is None:
        return status
    slot = cause.slot
    schedules = tuple(
        replace(s, last=max(s.last, slot)) if s.name == cause.schedule else s
        for s in status.schedules
    )
    return replace(status, schedules=schedules)


def refused(status: Status, error: RefusedError, now: datetime) -> Status:
    """Remember that the create was refused, which has had no effect."""
    intent = _intent(status)
    if error.status not in REQUEST_REFUSED:
        return _held(replace(status, intent=None), error, now)
    message = f"the API refused the request ({error.status}): {error.message}"
    run = replace(_run(intent), finished=now, end=RunEnd.REFUSED, message=message)
    status = replace(_taken_up(status, intent), intent=None, latest=run)
    status = _noted(status, now, message)
    if not intent.cause.desired:
        return _scheduled(status, run)
    return replace(
        status,
        attempt=intent.attempt,
        last=run,
        hold=None,
        next_attempt=None,
        stalled=Reason(ReasonCode.REFUSED, f"{message}; change the spec, or trigger it"),
    )


def _held(status: Status, error: RefusedError, now: datetime) -> Status:
    wait = PROBE_AFTER
    if error.retry_after_s is not None:
        wait = min(timedelta(seconds=max(error.retry_after_s, 1.0)), LONGEST_RETRY_AFTER)
    code = (
        ReasonCode.ACCESS_DENIED if error.status in ACCESS_REFUSED else ReasonCode.API_UNAVAILABLE
    )
    reason = Reason(code, f"the API answered {error.status}: {error.message}")
    return replace(status, hold=reason, next_attempt=now + wait)


def lost(status: Status, now: datetime) -> Status:
    """Remember when the create went unanswered: it may come through for a while from then."""
    return replace(status, intent=replace(_intent(status), at=now))


def abandoned(status: Status, note: str, now: datetime) -> Status:
    """Forget the intent, which was not carried out."""
    return _noted(replace(status, intent=None), now, note)


def _intent(status: Status) -> Intent:
    assert status.intent is not None, "there is an intent before there is an answer"  # noqa: S101
    return status.intent


# ---------------------------------------------------------------- a run


def followed(status: Status, deployment: Deployment) -> Status:
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
    return replace(status, run=run, last_version=max(status.last_version, deployment.version))


def canceling(status: Status, cancel: Cancel, now: datetime) -> Status:
    """Remember that we cancel the run. To be durable before the call."""
    record = CancelRecord(by=cancel.by, at=now, timed_out=cancel.timed_out)
    if cancel.request_id:
        status = handled(status, cancel.request_id)
    return replace(status, canceling=record)


def cancel_unanswered(status: Status, cancel: Cancel) -> Status:
    """Forget a cancel that is not known to have arrived, so that it is sent again."""
    ids = tuple(i for i in status.handled if i != cancel.request_id)
    return replace(status, canceling=None, handled=ids)


def concluded(status: Status, conclude: Conclude, retry: Retry, now: datetime) -> Status:
    """Remember how the run ended, and what that means for the next."""
    assert status.run is not None, "a run is concluded once"  # noqa: S101
    run = _ended(status, conclude, now)
    version = run.version
    status = replace(
        status,
        run=None,
        latest=run,
        canceling=None,
        last_version=max(status.last_version, version),
    )
    if run.end is not RunEnd.SUCCEEDED or not run.cause.desired:
        status = _noted(status, now, f"{_what(run)}: {run.message}", version)
    else:
        status = _noted(status, now, f"{_what(run)} succeeded at {run.commit[:12]}", version)
    if run.cause.schedule:
        status = _scheduled(status, run)
    stalled = _stalled(run, status.name)
    if not run.cause.desired:
        # Whatever it was for, an operation cut off in the middle needs a person.
        return replace(status, stalled=stalled if run.end is RunEnd.INTERRUPTED else status.stalled)
    status = replace(status, last=run, stalled=stalled, next_attempt=None)
    if run.end is RunEnd.SUCCEEDED:
        return replace(status, failures=0)
    if stalled is not None:
        return status
    if run.end is RunEnd.SKIPPED:
        return replace(status, next_attempt=now + retry.backoff)
    return _failed(status, run, retry, now)


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


def _ended(status: Status, conclude: Conclude, now: datetime) -> Run:
    run, deployment = status.run, conclude.deployment
    assert run is not None  # noqa: S101 - the caller has looked
    if deployment is None:
        message = (
            f"the API no longer knows version {run.version} ({run.id}), which it had acknowledged"
        )
        return replace(run, end=RunEnd.MISSING, finished=now, message=message)
    failed = next((s.name for s in deployment.steps if s.status is StepStatus.FAILED), "")
    seen = followed(status, deployment).run
    assert seen is not None  # noqa: S101 - it was in flight
    end = _run_end(status, deployment, failed, conclude.log)
    return replace(
        seen,
        end=end,
        finished=deployment.modified,
        step=failed,
        log=conclude.log if end is not RunEnd.SUCCEEDED else (),
        message=_message(end, deployment, conclude.log, status.canceling),
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
    if failed == PULUMI_STEP and any(UPDATE_CANCELED in line for line in log):
        return RunEnd.CANCELED
    return RunEnd.FAILED


def _message(
    end: RunEnd, deployment: Deployment, log: tuple[str, ...], record: CancelRecord | None
) -> str:
    own = deployment.ending.message if deployment.ending is not None else ""
    match end:
        case RunEnd.SUCCEEDED:
            return "succeeded"
        case RunEnd.CANCELED:
            return f"canceled by {record.by}" if record else own or "canceled"
        case RunEnd.TIMED_OUT:
            return "cancelled because it ran for longer than reconcile.timeout"
        case RunEnd.SKIPPED:
            return own or "the API skipped it"
        case _:
            failed = next((s.name for s in deployment.steps if s.status is StepStatus.FAILED), "")
            where = f"step '{failed}' failed" if failed else "it failed"
            words = own or _telling(log)
            return f"{where}: {words}" if words else where


def _telling(log: tuple[str, ...]) -> str:
    """Return the log's line that says most: its last error, but for "error: update failed"."""
    errors = [line.strip() for line in log if "error: " in line]
    telling = [line for line in errors if not line.endswith(" failed")]
    return (telling or errors or [line.strip() for line in log] or [""])[-1][:TELLING_LENGTH]


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


def _scheduled(status: Status, run: Run) -> Status:
    outcome = f"{run.end}: {run.message}" if run.end is not RunEnd.SUCCEEDED else "succeeded"
    schedules = tuple(
        replace(s, outcome=outcome, version=run.version) if s.name == run.cause.schedule else s
        for s in status.schedules
    )
    return replace(status, schedules=schedules)


def _what(run: Run) -> str:
    if run.cause.schedule:
        return f"{run.operation} of schedule {run.cause.schedule}"
    return f"{run.operation} asked for by {run.cause.by}" if run.cause.by else str(run.operation)


# ---------------------------------------------------------------- the rest


def skipped(status: Status, skip: SkipSlots, now: datetime) -> Status:
    """Remember that slots passed without a run."""
    schedules = tuple(
        replace(s, last=max(s.last, skip.until), outcome="skipped")
        if s.name == skip.schedule
        else s
        for s in status.schedules
    )
    return _noted(replace(status, schedules=schedules), now, skip.note)


def handled(status: Status, request_id: str, note: str = "", now: datetime | None = None) -> Status:
    """Remember that a request by hand has been dealt with."""
    if request_id not in status.handled:
        ids = (*status.handled, request_id)[-HANDLED_REQUESTS:]
        status = replace(status, handled=ids)
    return _noted(status, now, note) if note and now is not None else status


def verdict(status: Status, plan: Plan, now: datetime) -> Status:
    """Remember how it stands, as the plan says."""
    return _standing(status, plan.state, plan.verdict, now)


def set_aside(status: Status, state: State, reason: Reason, now: datetime) -> Status:
    """Remember why a spec that cannot be planned (invalid, in conflict) stands as it does."""
    return _standing(status, state, reason, now)


def _standing(status: Status, state: State, reason: Reason, now: datetime) -> Status:
    old = {c.type: c for c in status.conditions}
    values: Mapping[str, bool] = {
        "Ready": state is State.READY,
        "Reconciling": state in {State.PROGRESSING, State.WAITING}
        or (state is State.FAILED and reason.code is not ReasonCode.REFUSED),
        "Stalled": state in {State.STALLED, State.INVALID, State.CONFLICT}
        or reason.code is ReasonCode.REFUSED,
    }
    conditions = []
    for kind, value in values.items():
        before = old.get(kind)
        kept = before is not None and before.status is value
        conditions.append(
            Condition(
                type=kind,
                status=value,
                reason=str(reason.code),
                message=reason.message,
                last_transition=before.last_transition if kept and before else now,
            )
        )
    return replace(status, state=state, reason=reason, conditions=tuple(conditions))


def _noted(status: Status, now: datetime, text: str, version: int = 0) -> Status:
    entry = HistoryEntry(at=now, text=text, version=version)
    return replace(status, history=(*status.history, entry)[-HISTORY_LINES:])
