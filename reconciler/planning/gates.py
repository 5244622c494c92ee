"""What a run that would start has to pass: history, order, windows, a person's approval. Pure.

A gate that is shut answers with a plan that waits, says for what, and when to look again.
"""

from __future__ import annotations

from datetime import timedelta

from reconciler.api.types import Operation
from reconciler.model import (
    Approval,
    Ask,
    Cause,
    CauseKind,
    Plan,
    Reason,
    ReasonCode,
    State,
    Submit,
    TakeUpSlot,
    Unknown,
)
from reconciler.planning import strays, windows
from reconciler.planning.situation import Situation
from reconciler.planning.telling import few
from reconciler.values import replace

__all__ = ["APPROVAL_LASTS", "NAMES_SHOWN", "NO_SUCH_SPEC", "approval_key", "start"]

# More names than these in a message help nobody.
NAMES_SHOWN = 5

# Said of a dependency that only a person can mend.
NO_SUCH_SPEC = "there is no such spec"

# What was approved a day ago was approved of another world.
APPROVAL_LASTS = timedelta(hours=24)


def start(at: Situation, submit: Submit, reason: Reason, differing: tuple[str, ...] = ()) -> Plan:
    """Start a run, or say what it waits for."""
    operation = at.spec.run_for(submit.operation)
    if operation is not submit.operation:
        submit = replace(submit, operation=operation)
        reason = Reason(reason.code, f"{reason.message} (a preview: reconcile.dryRun)")
    held = (
        strays.take_up(at, submit, reason)
        or _wait_for_order(at, submit, reason)
        or _wait_for_window(at, submit, reason)
        or _wait_for_approval(at, submit, reason)
    )
    if held is not None:
        return _with(held, at, submit, differing)
    if isinstance(at.observed.history, Unknown):
        return at.unknown(at.observed.history)
    plan = at.plan(State.PROGRESSING, reason, submit, differing=differing)
    # The create stays in it, for whoever looks only; it is not carried out without the history.
    return replace(plan, needs_history=at.history is None)


def _with(held: Plan, at: Situation, submit: Submit, differing: tuple[str, ...]) -> Plan:
    """Return the waiting plan; a slot that waits is taken up, so that its deadline is over."""
    actions = held.actions
    cause = submit.cause
    if cause.slot is not None and not actions:
        known = next((s for s in at.status.schedules if s.name == cause.schedule), None)
        if known is not None and known.due != cause.slot:
            actions = (TakeUpSlot(schedule=cause.schedule, slot=cause.slot),)
    return replace(held, actions=actions, changes=differing)


# ---------------------------------------------------------------- order


def _wait_for_order(at: Situation, submit: Submit, reason: Reason) -> Plan | None:
    """What it depends on comes first; a destroy comes after what depends on it."""
    if submit.operation is Operation.DESTROY:
        left = [d.name for d in at.observed.downstream if not d.gone]
        if not left:
            return None
        message = f"waits for {few(left, NAMES_SHOWN)}, which depend on it and are not destroyed"
        return at.wait(State.WAITING, _then(ReasonCode.DEPENDENCY, message, reason))
    waits = [u for u in at.observed.upstream if u.state is not State.READY]
    if not waits:
        return None
    names = ", ".join(
        f"{u.name} ({NO_SUCH_SPEC})" if u.missing else f"{u.name} ({u.state})" for u in waits
    )
    return at.wait(State.WAITING, _then(ReasonCode.DEPENDENCY, f"waits for {names}", reason))


def _then(code: ReasonCode, message: str, reason: Reason) -> Reason:
    return Reason(code, f"{message}; then: {reason.message}")


# ---------------------------------------------------------------- windows


def _wait_for_window(at: Situation, submit: Submit, reason: Reason) -> Plan | None:
    """Nothing starts by itself outside the windows; what a person asks for does."""
    if submit.cause.kind in {CauseKind.TRIGGER, CauseKind.APPROVAL}:
        return None
    groups = (at.spec.windows, at.observed.windows)
    if windows.open_in_all(groups, at.now):
        return None
    opens = windows.next_opening_of_all(groups, at.now)
    when = f"opens {opens:%a %Y-%m-%d %H:%M} UTC" if opens is not None else "never opens"
    message = f"outside its windows; the next {when}"
    return at.wait(State.WAITING, _then(ReasonCode.WINDOW, message, reason), opens)


# ---------------------------------------------------------------- approval


def approval_key(approval: Approval) -> str:
    """Return what a person's word binds: what was wanted, and the preview that was shown."""
    wanted = f"{approval.digest[:16]}-{approval.source[:16]}"
    return f"{wanted}-{approval.operation}-{approval.version}"


def _wait_for_approval(at: Situation, submit: Submit, reason: Reason) -> Plan | None:
    """With `approval: required` nothing changes the stack before a person has agreed."""
    if not at.spec.needs_approval or submit.cause.kind is CauseKind.APPROVAL:
        return None
    destroys = submit.operation is Operation.DESTROY
    if not destroys and not submit.operation.brings_up:
        return None
    approval = at.status.approval
    binds = (
        approval is not None
        and (approval.digest, approval.source) == at.wanted
        and (approval.operation is Operation.DESTROY) is destroys
    )
    if approval is not None and binds:
        ends = (approval.granted or approval.asked) + APPROVAL_LASTS
        if approval.granted is not None and at.now < ends:
            return None
        if approval.granted is None and at.now < ends:
            return _asked(at, approval, reason)
    if not destroys and at.attempted and at.status.applied and _applied_this(at):
        return None  # what was approved is what is there; to run it again changes nothing
    if destroys:
        message = f"a person has to approve: {reason.message}"
        ask = Ask(operation=submit.operation)
        return at.plan(State.WAITING, Reason(ReasonCode.APPROVAL, message), ask)
    preview = Submit(
        cause=Cause(kind=CauseKind.APPROVAL, desired=True), operation=Operation.PREVIEW
    )
    told = Reason(reason.code, f"{reason.message} (a preview first: reconcile.approval)")
    return start(at, preview, told)


def _applied_this(at: Situation) -> bool:
    """Whether the run that succeeded last was an approved one of what is wanted."""
    last = at.status.last
    return last is not None and last.version == at.status.applied


def _asked(at: Situation, approval: Approval, reason: Reason) -> Plan:
    shown = (
        f" Its preview, version {approval.version}: {approval.summary}." if approval.summary else ""
    )
    message = (
        f"waits for approval until {approval.asked + APPROVAL_LASTS:%Y-%m-%d %H:%M} UTC: "
        f"{reason.message}.{shown} `reconciler approve {at.spec.name}`"
    )
    again_at = approval.asked + APPROVAL_LASTS
    return at.wait(State.WAITING, Reason(ReasonCode.APPROVAL, message), again_at)
