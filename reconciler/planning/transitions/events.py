"""From one status to the next on what is no run: the spec, people, others, slots, files. Pure."""

from __future__ import annotations

from datetime import datetime

from reconciler.api.types import JobStatus, Operation
from reconciler.model import (
    Approval,
    Ask,
    Attempt,
    CancelDouble,
    Cause,
    CauseKind,
    Desired,
    Grant,
    MarkClock,
    MarkRemoved,
    Notice,
    Removal,
    Run,
    RunEnd,
    ScheduleStatus,
    SkipSlots,
    Spec,
    Status,
    TakeOver,
    TakeUpSlot,
)
from reconciler.planning import slots
from reconciler.planning.remembered import text_as_deployed, text_of
from reconciler.planning.situation import source_of
from reconciler.planning.transitions.notes import handled, noted
from reconciler.values import replace

__all__ = [
    "asked",
    "clock_marked",
    "double_canceled",
    "double_not_canceled",
    "granted",
    "noticed",
    "prepared",
    "removal_marked",
    "skipped",
    "slot_taken_up",
    "taken_over",
]


def prepared(status: Status, spec: Spec, now: datetime, digest: str = "") -> Status:
    """Fit what is remembered to the spec, which asks for `digest` now (empty: not known).

    Another stack starts afresh; a new or edited schedule counts from now. What a removed spec is
    destroyed by has its request only once that was asked for.
    """
    stack = str(spec.stack)
    if status.stack and status.stack != stack:
        note = f"the spec's stack was {status.stack}, which is left as it is"
        status = noted(
            Status(
                name=status.name,
                generation=status.generation,
                written=status.written,
                history=status.history,
            ),
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
        if old.next is None or old.next <= after:
            following = slots.following(schedule, after, slots.slot_key(spec, schedule))
            old = replace(old, next=following)
        schedules.append(old)
    behind = status.clock_behind_since
    if behind is not None and (status.written is None or now >= status.written):
        behind = None
    found, attempt = tuple(schedules), status.attempt
    if attempt is None or attempt.digest == digest:
        text = text_of(spec)
    else:
        text = text_as_deployed(spec, status.last_good_spec)
    known_of = (status.stack, status.schedules, status.clock_behind_since, status.last_good_spec)
    if status.removal is None and known_of == (stack, found, behind, text):
        return status
    return replace(
        status,
        stack=stack,
        schedules=found,
        clock_behind_since=behind,
        last_good_spec=text,
        removal=None,
    )


# ---------------------------------------------------------------- others, and people


def noticed(status: Status, notice: Notice, now: datetime) -> Status:
    """Remember what was deployed beside our own runs."""
    foreign = notice.foreign
    if foreign is None:
        if notice.latest < status.last_version:
            # The history begins anew: a version of before would stand for another one by and by.
            status = replace(status, adopted_version=0, applied=0, foreign=None)
        status = replace(status, last_version=notice.latest)
        return noted(status, now, notice.note, notice.latest) if notice.note else status
    known = status.foreign
    status = replace(status, last_version=max(status.last_version, notice.latest))
    if foreign.ended and not foreign.changes and not foreign.owner:
        # What another one had changed before it stays as it is. One that had not ended has by now,
        # and has changed nothing, or this one would not be what there is to tell.
        stays = known is not None and known.ended and known.version != foreign.version
        return replace(status, foreign=known if stays else None)
    if foreign.ended and (status.foreign is None or not status.foreign.ended):
        what = foreign.operation or "a deployment"
        status = noted(
            status, now, f"{what} of {foreign.by or 'somebody else'} ended", foreign.version
        )
    return replace(status, foreign=foreign)


def taken_over(status: Status, over: TakeOver, desired: Desired, now: datetime) -> Status:
    """Remember that the stack is ours from here on, with what was deployed taken as wanted."""
    deployment = over.deployment
    commit, source = desired.commit, desired.source
    if deployment is not None and deployment.source is not None:
        commit = deployment.source.commit
        source = source if commit == desired.commit else ""
    attempt = Attempt(digest=desired.digest, commit=commit, source=source, fields=desired.fields)
    note = f"taken over at version {over.latest} by {over.by}"
    status = noted(status, now, note, over.latest)
    status = replace(
        handled(status, over.request_id),
        attempt=attempt,
        # What has not ended is to be seen again, and its end waited for.
        last_version=over.latest if over.running is None else over.running.version - 1,
        adopted_version=over.latest,
        foreign=None,
        stalled=None,
        hold=None,
        failures=0,
        next_attempt=None,
        destroyed=desired.spec.wants_destroyed,
    )
    version = deployment.version if deployment is not None else over.latest
    run = Run(
        run_id="",
        cause=Cause(kind=CauseKind.NEW, desired=True, by="" if deployment else over.by),
        operation=(deployment.operation if deployment else None) or desired.spec.request.operation,
        commit=commit,
        id=deployment.id if deployment is not None else "",
        version=version,
        url="",
        submitted=deployment.created if deployment is not None else now,
        digest=desired.digest,
        source=source,
        marker=deployment.marker if deployment is not None else "",
    )
    if deployment is not None and not deployment.status.ended:
        return replace(status, run=run)
    ended = replace(
        run,
        end=RunEnd.SUCCEEDED,
        status=JobStatus.SUCCEEDED,
        visible=True,
        finished=deployment.modified if deployment is not None else now,
        message=note,
    )
    applied = version if ended.operation is not Operation.PREVIEW else status.applied
    # Of two clocks the later one counts, as in `runs.concluded`.
    first = status.first_applied or max(now, ended.finished or now)
    return replace(status, last=ended, applied=applied, first_applied=first)


def double_canceled(status: Status, cancel: CancelDouble, now: datetime) -> Status:
    """Remember that one of two deployments of one request is cancelled: its end is to be seen."""
    note = "a request that arrived twice made it too; it is cancelled"
    return noted(status, now, f"version {cancel.version}: {note}", cancel.version)


def double_not_canceled(status: Status, cancel: CancelDouble) -> Status:
    """Forget a cancel that is not known to have arrived, so that it is sent again."""
    left = tuple(entry for entry in status.history if entry.version != cancel.version)
    return replace(status, history=left)


def asked(status: Status, ask: Ask, desired: Desired, now: datetime) -> Status:
    """Remember what a person is asked to approve."""
    approval = Approval(
        digest=desired.digest,
        source=source_of(desired),
        operation=ask.operation,
        version=0,
        asked=now,
    )
    return replace(status, approval=approval)


def granted(status: Status, grant: Grant, now: datetime) -> Status:
    """Remember that a person approved what they were asked for."""
    assert status.approval is not None, "only what was asked for is granted"  # noqa: S101
    approval = replace(status.approval, by=grant.by, granted=now)
    note = f"{grant.by} approved {approval.operation}"
    status = noted(handled(status, grant.request_id), now, note, approval.version)
    return replace(status, approval=approval)


# ---------------------------------------------------------------- slots and the clock


def slot_taken_up(status: Status, take: TakeUpSlot) -> Status:
    """Remember that a slot waits for what holds it back, and no longer for its deadline."""
    schedules = tuple(
        replace(s, due=take.slot) if s.name == take.schedule else s for s in status.schedules
    )
    return replace(status, schedules=schedules)


def skipped(status: Status, skip: SkipSlots, now: datetime) -> Status:
    """Remember that slots passed without a run."""
    schedules = tuple(
        replace(
            s,
            last=max(s.last, skip.until),
            due=None if s.due is not None and s.due <= skip.until else s.due,
            outcome="skipped",
        )
        if s.name == skip.schedule
        else s
        for s in status.schedules
    )
    return noted(replace(status, schedules=schedules), now, skip.note)


def clock_marked(status: Status, mark: MarkClock, now: datetime) -> Status:
    """Remember that the clock is behind; with `rebase`, that it is believed from now on."""
    if not mark.rebase:
        return replace(status, clock_behind_since=now)
    schedules = tuple(
        replace(s, last=min(s.last, now), due=None, next=None) for s in status.schedules
    )
    note = "the clock is behind what was written down, and is believed: schedules count from now"
    status = replace(status, schedules=schedules, clock_behind_since=None, written=None)
    return noted(status, now, note)


# ---------------------------------------------------------------- the file


def removal_marked(status: Status, mark: MarkRemoved, now: datetime) -> Status:
    """Remember that the file is gone, or that it is there again."""
    if mark.back:
        return replace(status, removal=None)
    removal = status.removal or Removal(since=now)
    if mark.confirmed:
        removal = replace(removal, confirmed=True)
    if mark.begun:
        removal = replace(removal, begun=now)
    return replace(status, removal=removal)
