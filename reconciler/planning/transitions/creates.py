"""From one status to the next around a create: the intent, and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from reconciler.api.types import MARKER_PREFIX, Created, Deployment
from reconciler.errors import RefusedError
from reconciler.model import (
    Abandon,
    Attempt,
    CauseKind,
    Desired,
    Intent,
    Reason,
    ReasonCode,
    Recall,
    Run,
    RunEnd,
    Spec,
    Status,
    Submit,
    Upstream,
)
from reconciler.patience import LONGEST_RETRY_AFTER, PROBE_AFTER
from reconciler.planning.remembered import text_of
from reconciler.planning.situation import same_wanted
from reconciler.planning.transitions.notes import handled, noted
from reconciler.values import replace

__all__ = [
    "RunName",
    "Wanted",
    "abandoned",
    "accepted",
    "adopted",
    "asked_by",
    "begun",
    "lost",
    "recalled",
    "refused",
    "scheduled",
]

# A refusal with one of these is about the request: the same again would be refused again.
REQUEST_REFUSED = frozenset({400, 402, 405, 406, 409, 410, 411, 413, 414, 415, 422})
ACCESS_REFUSED = frozenset({401, 403, 404})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is to bring about, and how the dependencies stood when it began."""

    desired: Desired
    upstream: tuple[Upstream, ...] = ()


@dataclass(frozen=True, slots=True)
class RunName:
    """How a run is named: who reconciles, and an id made for this run."""

    owner: str
    run_id: str

    def marker(self, digest: str) -> str:
        """Return the variable's name that carries it."""
        return f"{MARKER_PREFIX}{self.owner}_{self.run_id}_{digest[:8]}"


def begun(status: Status, submit: Submit, job: Wanted, name: RunName, now: datetime) -> Status:
    """Remember that we are about to ask for a deployment. To be durable before the POST."""
    if submit.again is not None:
        return replace(status, intent=replace(submit.again, at=now))
    desired = job.desired
    intent = Intent(
        run_id=name.run_id,
        marker=name.marker(desired.digest),
        cause=submit.cause,
        operation=submit.operation,
        attempt=_attempt(desired),
        after_version=status.last_version,
        at=now,
        upstream=MappingProxyType({u.name: u.applied for u in job.upstream if u.applied}),
        upstream_stacks=MappingProxyType({u.name: u.stack for u in job.upstream if u.applied}),
    )
    return replace(status, intent=intent)


def _attempt(desired: Desired) -> Attempt:
    return Attempt(
        digest=desired.digest,
        commit=desired.commit,
        source=desired.source,
        fields=MappingProxyType(dict(desired.fields)),
    )


def accepted(status: Status, created: Created, now: datetime) -> Status:
    """Remember the answer to the create: it is a run of ours now."""
    intent = _intent(status)
    run = replace(
        _run(intent), id=created.id, version=created.version, url=created.console_url, submitted=now
    )
    return _in_flight(status, intent, run)


def asked_by(status: Status, intent: Intent, spec: Spec) -> Status:
    """Remember what the spec would be destroyed by: something is made of its request now."""
    if not intent.cause.desired or status.removal is not None:
        return status
    return replace(status, last_good_spec=text_of(spec))


def adopted(status: Status, deployment: Deployment, now: datetime) -> Status:
    """Remember that the deployment with the intent's marker is the run we asked for."""
    intent = _intent(status)
    run = replace(_run(intent), id=deployment.id, version=deployment.version)
    note = f"version {deployment.version} was found again after its create had no answer"
    return noted(_in_flight(status, intent, run), now, note, deployment.version)


def recalled(status: Status, recall: Recall, desired: Desired, now: datetime) -> Status:
    """Remember that a deployment with our marker is the run that would have been asked for."""
    deployment, lost = recall.deployment, status.latest
    if lost is not None and lost.end is RunEnd.MISSING and lost.id == deployment.id:
        return _found_again(status, lost, now)
    intent = Intent(
        run_id=deployment.marker.removeprefix(MARKER_PREFIX).split("_")[1],
        marker=deployment.marker,
        cause=recall.cause,
        operation=recall.operation,
        attempt=_attempt(desired),
        after_version=status.last_version,
        at=deployment.created,
        # What its dependencies had applied then is not known: what is newer than known counts.
        upstream=status.upstream,
        upstream_stacks=status.upstream_stacks,
    )
    run = replace(_run(intent), id=deployment.id, version=deployment.version)
    note = f"version {deployment.version} carries our marker and was taken up"
    return noted(_in_flight(status, intent, run), now, note, deployment.version)


def _found_again(status: Status, lost: Run, now: datetime) -> Status:
    """Remember that a run which counted as lost is there after all, and is followed to its end."""
    run = replace(lost, end=None, finished=None, seen_ended=None, message="")
    stalled = status.stalled
    if stalled is not None and stalled.code is ReasonCode.HISTORY_LOST:
        stalled = None
    note = f"version {run.version}, which was nowhere to be found, is there again"
    return noted(replace(status, run=run, stalled=stalled), now, note, run.version)


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
        digest=intent.attempt.digest,
        source=intent.attempt.source,
        marker=intent.marker,
    )


def _in_flight(status: Status, intent: Intent, run: Run) -> Status:
    status = _taken_up(status, intent)
    status = replace(
        status,
        intent=None,
        run=run,
        hold=None,
        last_version=max(status.last_version, run.version),
    )
    if not intent.cause.desired:
        return status
    before = status.attempt
    fresh = before is None or not same_wanted(before, intent.attempt) or bool(intent.cause.by)
    started_by_drift = intent.cause.kind is CauseKind.DRIFT
    return replace(
        status,
        stalled=None,
        next_attempt=None,
        failures=0 if fresh else status.failures,
        locked_since=None if fresh else status.locked_since,
        attempt=intent.attempt,
        upstream=intent.upstream,
        upstream_stacks=intent.upstream_stacks,
        foreign=None,
        # Drift starts one update; what comes of that is told as any run's end.
        drift=None if started_by_drift else status.drift,
    )


def _taken_up(status: Status, intent: Intent) -> Status:
    """Remember what the run was for, so that nothing starts a second one for it."""
    cause = intent.cause
    if cause.request_id:
        status = handled(status, cause.request_id)
    if cause.slot is None:
        return status
    slot = cause.slot
    schedules = tuple(
        replace(s, last=max(s.last, slot), due=None) if s.name == cause.schedule else s
        for s in status.schedules
    )
    return replace(status, schedules=schedules)


def refused(status: Status, error: RefusedError, now: datetime, *, again: bool = False) -> Status:
    """Remember that the create was refused, which has had no effect.

    `again`: it had been sent before, without an answer. Of that one a refusal of the request as
    such tells too, as it was the same; another one does not, so it is looked for as before, and
    asked for again under its name.
    """
    intent = _intent(status)
    if error.status not in REQUEST_REFUSED:
        return _held(status if again else replace(status, intent=None), error, now)
    message = f"the API refused the request ({error.status}): {error.message}"
    run = replace(_run(intent), finished=now, end=RunEnd.REFUSED, message=message)
    status = replace(_taken_up(status, intent), intent=None, latest=run)
    return _stalls(noted(status, now, message), intent, run, ReasonCode.REFUSED)


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


def abandoned(status: Status, abandon: Abandon, now: datetime) -> Status:
    """Forget the intent, which was not carried out; where it was cancelled, as a run's end."""
    if not abandon.by:
        return noted(replace(status, intent=None), now, abandon.note)
    intent = _intent(status)
    run = replace(_run(intent), finished=now, end=RunEnd.CANCELED, message=abandon.note)
    status = replace(_taken_up(status, intent), intent=None, latest=run)
    status = handled(noted(status, now, abandon.note), abandon.request_id)
    return _stalls(status, intent, run, ReasonCode.CANCELED)


def _stalls(status: Status, intent: Intent, run: Run, code: ReasonCode) -> Status:
    """Remember what never ran for its own reason: it waits for a change, or for a person."""
    if not intent.cause.desired:
        return scheduled(status, run)
    return replace(
        status,
        attempt=intent.attempt,
        last=run,
        hold=None,
        next_attempt=None,
        stalled=Reason(code, f"{run.message}; change the spec, or trigger it"),
    )


def scheduled(status: Status, run: Run) -> Status:
    """Remember how a schedule's run ended; of other runs nothing."""
    outcome = f"{run.end}: {run.message}" if run.end is not RunEnd.SUCCEEDED else "succeeded"
    schedules = tuple(
        replace(s, outcome=outcome, version=run.version) if s.name == run.cause.schedule else s
        for s in status.schedules
    )
    return replace(status, schedules=schedules)


def _intent(status: Status) -> Intent:
    assert status.intent is not None, "there is an intent before there is an answer"  # noqa: S101
    return status.intent
