"""Rules for what holds a stack back: people, other owners, and what is not known. Pure."""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.types import MARKER_PREFIX, Deployment, JobStatus, Operation
from reconciler.model import (
    BindRequest,
    Cause,
    CauseKind,
    DropRequest,
    ForeignRun,
    Grant,
    HandRequest,
    History,
    Hold,
    Notice,
    Plan,
    Reason,
    ReasonCode,
    RequestKind,
    Response,
    State,
    Status,
    Submit,
    TakeOver,
    Unknown,
)
from reconciler.patience import CLOCK_TOLERANCE, LONGEST_RETRY_AFTER, PROBE_AFTER
from reconciler.planning import strays
from reconciler.planning.gates import approval_key, start
from reconciler.planning.situation import Situation, differences
from reconciler.planning.underway import cancel_double

__all__ = [
    "SUSPENDED_BY_FILE",
    "adopt_by_hand",
    "answer_requests",
    "bind_adoption",
    "find_own_history",
    "hold_back",
    "hold_blocked",
    "hold_conflict",
    "hold_foreign",
    "hold_lost_history",
    "hold_suspended",
    "kept_by_another",
    "notice_others",
    "suspended_by",
    "wait_for_others",
]

# How often others' deployments, and a history that has lost something, are looked at again.
LOOK_AGAIN = timedelta(seconds=10)

# What an adoption means is taken down within so long of its asking, or it has to be asked anew.
BOUND_WITHIN = timedelta(minutes=10)

SUSPENDED_BY_FILE = "reconcile.suspend is true; set it to false to go on"


def answer_requests(at: Situation) -> Plan | None:
    """A request by hand that has been dealt with, or can have no effect, is taken away."""
    for request in at.observed.requests:
        if request.kind is RequestKind.APPROVE and request.id not in at.status.handled:
            return _answer_approval(at, request)
        note = _pointless(at, request)
        if note is not None:
            reason = Reason(ReasonCode.TRIGGERED, note or "a request has been dealt with")
            drop = DropRequest(request_id=request.id, note=note)
            return at.plan(State.PROGRESSING, reason, drop)
    return None


def _pointless(at: Situation, request: HandRequest) -> str | None:
    """Return why a request has no effect, empty where it has had its own; None: it has one."""
    if request.id in at.status.handled:
        return ""
    if request.kind is RequestKind.CANCEL:
        return f"{request.by} asked to cancel, and nothing was running"
    if request.kind is RequestKind.TRIGGER and (at.spec.suspended or at.observed.hold):
        return f"{request.by} asked for a run, and the spec is suspended"
    return None


def _answer_approval(at: Situation, request: HandRequest) -> Plan:
    approval = at.status.approval
    if approval is None or approval_key(approval) != request.binds:
        note = f"{request.by} approved what is no longer wanted; look at what is wanted now"
        reason = Reason(ReasonCode.APPROVAL, note)
        return at.plan(State.WAITING, reason, DropRequest(request_id=request.id, note=note))
    reason = Reason(ReasonCode.APPROVAL, f"{request.by} approved {approval.operation}")
    return at.plan(State.PROGRESSING, reason, Grant(by=request.by, request_id=request.id))


def hold_suspended(at: Situation) -> Plan | None:
    """A suspended spec starts nothing; what else is with it is told all the same."""
    hold = at.observed.hold
    if hold is not None:
        reason = suspended_by(hold, at.spec.name)
    elif at.spec.suspended:
        reason = Reason(ReasonCode.SUSPENDED, SUSPENDED_BY_FILE)
    else:
        return None
    told = Reason(reason.code, reason.message + _beneath(at.status))
    return at.plan(State.SUSPENDED, told, differing=differences(at))


def _beneath(status: Status) -> str:
    """Say why a person is needed all the same, which a suspension does not end."""
    if status.stalled is not None:
        return f"; beneath that it is Stalled: {status.stalled.message}"
    approval = status.approval
    if approval is not None and approval.granted is None:
        return f"; beneath that {approval.operation} waits for an approval"
    return ""


def suspended_by(hold: Hold, name: str) -> Reason:
    """Say who suspended a spec, since when, and what ends it."""
    what = "all specs" if hold.everything else "it"
    go_on = "reconciler resume --all" if hold.everything else f"reconciler resume {name}"
    message = f"{hold.by} suspended {what} on {hold.at:%Y-%m-%d %H:%M} UTC; `{go_on}` goes on"
    return Reason(ReasonCode.SUSPENDED, message)


def hold_blocked(at: Situation) -> Plan | None:
    """Nothing starts while what the spec wants cannot be known."""
    blocked = at.desired.blocked
    if blocked is None:
        return None
    state = State.UNKNOWN if blocked.code is ReasonCode.SOURCE_UNAVAILABLE else State.WAITING
    return at.wait(state, blocked)


def hold_back(at: Situation) -> Plan | None:
    """After the API refused us, it is left alone for a while."""
    status = at.status
    if status.hold is None or status.next_attempt is None or at.now >= status.next_attempt:
        return None
    if status.next_attempt - at.now > LONGEST_RETRY_AFTER + CLOCK_TOLERANCE:
        return None  # more than was ever begun with: the clock was set back
    return at.plan(State.UNKNOWN, status.hold, again_at=status.next_attempt)


# ---------------------------------------------------------------- what others did


def bind_adoption(at: Situation) -> Plan | None:
    """Who takes a stack over as it is means what is wanted then, and nothing that comes later.

    What was pushed while the API did not answer would count as deployed, and never be.
    """
    request = next(iter(at.requests(RequestKind.ADOPT)), None)
    if request is None:
        return None
    digest, source = at.wanted
    wanted = f"{digest[:16]}-{source[:16]}"
    if request.binds == wanted:
        return None
    if not request.binds and at.now - request.at < BOUND_WITHIN:
        reason = Reason(ReasonCode.ADOPTED, f"{request.by} takes the stack over as it is")
        bind = BindRequest(request_id=request.id, binds=wanted)
        return at.plan(State.PROGRESSING, reason, bind)
    since = "what is wanted has changed since" if request.binds else "that could not be looked at"
    note = (
        f"{request.by} asked to adopt it at {request.at:%H:%M} UTC, and {since}: nothing is taken "
        f"over; look at `reconciler plan`, then `reconciler adopt {at.spec.name}` again"
    )
    drop = DropRequest(request_id=request.id, note=note)
    return at.plan(State.PROGRESSING, Reason(ReasonCode.ADOPTED, note), drop)


def adopt_by_hand(at: Situation) -> Plan | None:
    """A person says that the stack is ours, as it is."""
    request = next(iter(at.requests(RequestKind.ADOPT)), None)
    if request is None:
        return None
    reason = Reason(ReasonCode.ADOPTED, f"{request.by} takes the stack over as it is")
    plan = at.plan(State.PROGRESSING, reason)
    if isinstance(at.observed.history, Unknown):
        return at.unknown(at.observed.history)
    if at.history is None:
        return at.need_history(plan)
    over = TakeOver(
        latest=at.history.latest,
        by=request.by,
        request_id=request.id,
        running=_not_over(at.history),
    )
    return at.plan(State.PROGRESSING, reason, over)


def _not_over(history: History) -> ForeignRun | None:
    """Return the oldest that has not ended, others' or ours that is not followed; None: none."""
    stray, running = history.stray, history.running
    if stray is None or stray.status.ended or (running and running.version < stray.version):
        return running
    return ForeignRun(version=stray.version, by="", operation=stray.operation, ended=False)


def find_own_history(at: Situation) -> Plan | None:
    """Without a status, the history is read: our own marker is believed, nothing else is.

    It is believed where nothing has changed the stack since. At which commit it ran, the API
    tells: what was pushed since is a change like any other.
    """
    status = at.status
    if status.attempt is not None or status.last_version or at.triggers():
        return None
    if isinstance(at.observed.history, Unknown):
        return at.unknown(at.observed.history)
    history = at.history
    if history is None:
        reason = Reason(ReasonCode.NEW, "nothing is known of the stack yet")
        return at.need_history(at.plan(State.UNKNOWN, reason))
    if not history.latest:
        return None
    ours, foreign = history.ours, history.foreign
    later = None if ours is None or foreign is None or foreign.version < ours.version else foreign
    if later is not None and later.owner:
        return None  # another owner has the stack by now, which is noticed next
    if ours is not None and history.running is not None:
        return at.plan(State.WAITING, _running(history.running), again_at=at.now + LOOK_AGAIN)
    if ours is not None and not (later and later.changes) and _does_what_is_wanted(ours, at):
        reason = Reason(
            ReasonCode.ADOPTED, f"version {ours.version} carries our marker, and is what is wanted"
        )
        over = TakeOver(latest=history.latest, by="its marker", deployment=ours)
        return at.plan(State.PROGRESSING, reason, over)
    if ours is not None and ours.version == history.latest and _destroyed(ours):
        note = f"version {ours.version} carries our marker, and has destroyed the stack"
        notice = Notice(latest=history.latest, note=note)
        return at.plan(State.PROGRESSING, Reason(ReasonCode.NEW, note), notice)
    name = at.spec.name
    reason = Reason(
        ReasonCode.HISTORY_UNKNOWN,
        f"the stack has {history.latest} deployments and no status file tells of them; "
        f"`reconciler adopt {name}` takes it as it is, `reconciler trigger {name}` runs it",
    )
    return at.wait(State.STALLED, reason, at.now + PROBE_AFTER)


def _does_what_is_wanted(ours: Deployment, at: Situation) -> bool:
    """Whether it has brought the stack to what is wanted, of whatever commit, or is about to.

    A marker's digest is that of the request, whatever was run of it: a preview has the same.
    """
    digest = ours.marker.removeprefix(MARKER_PREFIX).rpartition("_")[2]
    if digest != at.desired.digest[:8] or ours.source is None or not ours.source.commit:
        return False
    wanted = {at.operation}
    if at.operation is Operation.UPDATE:
        wanted.add(Operation.REMEDIATE_DRIFT)  # an update that refreshes first
    good = not ours.status.ended or ours.status is JobStatus.SUCCEEDED
    return good and ours.operation in wanted


def _destroyed(ours: Deployment) -> bool:
    return ours.operation is Operation.DESTROY and ours.status is JobStatus.SUCCEEDED


def notice_others(at: Situation) -> Plan | None:
    """What others deployed since is remembered, before anything else is decided."""
    history = at.history
    if history is None:
        return None
    return cancel_double(at) or _notice_foreign(at, history) or strays.notice(at)


def _notice_foreign(at: Situation, history: History) -> Plan | None:
    foreign, known = history.foreign, at.status.foreign
    if foreign is None or foreign == known:
        return None
    if known is None and foreign.version <= at.status.last_version:
        return None
    changed = known is not None and known.ended and (known.changes or bool(known.owner))
    if changed and not foreign.ended and not foreign.changes:
        return None  # it is waited for, and does not hide what was changed before
    reason = Reason(ReasonCode.FOREIGN_CHANGE, _told(foreign))
    return at.plan(State.PROGRESSING, reason, Notice(foreign=foreign, latest=history.told_to))


def kept_by_another(status: Status) -> ForeignRun | None:
    """Return the deployment by which another owner keeps the stack; None where none does."""
    foreign = status.foreign
    if foreign is None or not foreign.owner or foreign.version <= status.adopted_version:
        return None
    return foreign


def hold_conflict(at: Situation) -> Plan | None:
    """A stack that another owner reconciles is left to them, until a person says otherwise."""
    foreign = kept_by_another(at.status)
    if foreign is None:
        return None
    reason = Reason(
        ReasonCode.CONFLICT,
        f"the stack is reconciled by another owner, {foreign.owner} (version {foreign.version}); "
        f"end that one, then `reconciler adopt {at.spec.name}`",
    )
    return at.wait(State.CONFLICT, reason)


def wait_for_others(at: Situation) -> Plan | None:
    """What somebody else has queued or runs is waited for, and never cancelled."""
    if isinstance(at.observed.history, Unknown):
        return at.unknown(at.observed.history)
    foreign, history = at.status.foreign, at.history
    running = history.running if history is not None else None
    if history is None and foreign is not None and not foreign.ended:
        # What was known to run is asked for again, to see its end.
        return at.need_history(at.plan(State.WAITING, _running(foreign)))
    if running is None:
        return None
    return at.plan(State.WAITING, _running(running), again_at=at.now + LOOK_AGAIN)


def hold_foreign(at: Situation) -> Plan | None:
    """After somebody else changed the stack, a person decides; or the spec has said so."""
    foreign = at.status.foreign
    if foreign is None or not foreign.changes or at.triggers() or not at.attempted:
        return None
    if foreign.version <= at.status.adopted_version:
        return None
    reason = Reason(ReasonCode.FOREIGN_CHANGE, _told(foreign))
    if at.spec.on_foreign is Response.UPDATE:
        cause = Cause(kind=CauseKind.FOREIGN, desired=True)
        return start(at, Submit(cause=cause, operation=at.operation), reason)
    name = at.spec.name
    go_on = f"`reconciler trigger {name}` brings it back, `reconciler adopt {name}` keeps it"
    return at.wait(State.STALLED, Reason(reason.code, f"{reason.message}; {go_on}"))


def _told(foreign: ForeignRun) -> str:
    what = foreign.operation or "a deployment"
    return f"changed by {foreign.by or 'somebody else'}: {what} (version {foreign.version})"


def _running(foreign: ForeignRun) -> Reason:
    who, what = foreign.by or "somebody else", foreign.operation or "a deployment"
    message = f"waits for version {foreign.version}, {what} of {who}"
    return Reason(ReasonCode.FOREIGN_RUNNING, message)


def hold_lost_history(at: Situation) -> Plan | None:
    """Where the API knows less of the stack than we do, data was lost there: a person looks.

    What was found so is looked at again each time, until it is there or a person adopts it.
    """
    history, status = at.history, at.status
    if history is None:
        known = status.reason
        if known is None or known.code is not ReasonCode.HISTORY_LOST:
            return None
        if isinstance(at.observed.history, Unknown):
            return at.unknown(at.observed.history)
        return at.need_history(at.plan(State.STALLED, known))
    if history.latest >= status.last_version:
        return None
    if status.destroyed:
        # A destroy may take the stack along, and its history with it: it begins anew.
        note = f"the stack's history begins anew at version {history.latest} after its destroy"
        # Whose they are that it begins with is looked at next.
        notice = Notice(latest=0, note=note)
        return at.plan(State.PROGRESSING, Reason(ReasonCode.DESTROYED, note), notice)
    has = f"its latest version is {history.latest}" if history.latest else "it has no deployments"
    reason = Reason(
        ReasonCode.HISTORY_LOST,
        f"version {status.last_version} was there, and now {has}: data was lost on that side; "
        f"look there first, then `reconciler adopt {at.spec.name}` goes on",
    )
    return at.wait(State.STALLED, reason, at.now + PROBE_AFTER)
