"""Why a spec did or did not run, and what would make it run, in plain words. Pure.

It is put together from what is remembered, what the file says, what people hold, and a plan
that was made just now. What a message says already is not said again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from reconciler.model import (
    Cause,
    CauseKind,
    Hold,
    Plan,
    Reason,
    ReasonCode,
    Run,
    RunEnd,
    Schedule,
    Spec,
    State,
    Status,
    Window,
)
from reconciler.planning import slots, windows
from reconciler.planning.advice import Advice, advise
from reconciler.planning.gates import APPROVAL_LASTS
from reconciler.planning.holds import suspended_by
from reconciler.planning.moments import span, when
from reconciler.planning.removal import GONE_AFTER
from reconciler.planning.situation import expiry
from reconciler.planning.telling import does
from reconciler.planning.usual import so_far, usual_of

__all__ = ["Case", "Explanation", "Neighbour", "because", "explain"]

# The end of a log says most; the whole of it is `reconciler logs`.
LOG_LINES: Final = 10

_CAUSES: Final[Mapping[CauseKind, str]] = {
    CauseKind.NEW: "the spec was new",
    CauseKind.CHANGE: "the spec had changed",
    CauseKind.SOURCE: "its source had moved",
    CauseKind.RETRY: "a failed run was tried again",
    CauseKind.DEPENDENCY: "a dependency had deployed something new",
    CauseKind.DRIFT: "drift was found",
    CauseKind.FOREIGN: "somebody else had changed the stack",
    CauseKind.APPROVAL: "a preview to be approved",
    CauseKind.EXPIRY: "reconcile.destroyAfter had come",
    CauseKind.REMOVAL: "its file was gone",
}

# The condition whose last transition says since when a state lasts.
_CONDITIONS: Final[Mapping[State, str]] = {
    State.PROGRESSING: "Reconciling",
    State.WAITING: "Reconciling",
    State.FAILED: "Reconciling",
    State.STALLED: "Stalled",
    State.INVALID: "Stalled",
    State.CONFLICT: "Stalled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A dependency, and how it stands itself."""

    name: str
    state: State = State.UNKNOWN
    message: str = ""
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is known of one name.

    `spec` is None where the file is broken (`problem`) or gone. `plan` is one made just now,
    or None, and then `unplanned` says why. `masses` are the mass changes and removals that
    hold it, with how many names are in each. `windows` are the host's. `reconciler` is who
    works on the directory; empty: nobody. `readable` is when a file that changed just now is
    read at the latest, None where it is read.
    """

    status: Status
    now: datetime
    spec: Spec | None = None
    problem: str = ""
    plan: Plan | None = None
    unplanned: str = ""
    hold: Hold | None = None
    upstream: tuple[Neighbour, ...] = ()
    masses: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    windows: tuple[Window, ...] = ()
    reconciler: str = ""
    readable: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer, in parts.

    `now` is what a pass would do at this moment, `following` what time or others bring,
    `advice` what a person can do.
    """

    name: str
    stack: str
    state: State
    reason: Reason
    since: datetime | None
    at: datetime
    reconciler: str
    unplanned: str = ""
    now: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    following: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()


def explain(case: Case) -> Explanation:
    """Say why one spec stands as it does, and what would change that."""
    state, reason = _standing(case)
    plan = case.plan
    acts = plan is not None and bool(plan.actions) and not _held_by_mass(case)
    return Explanation(
        name=case.status.name,
        stack=case.status.stack or (str(case.spec.stack) if case.spec is not None else ""),
        state=state,
        reason=reason,
        since=_since(case, state),
        at=case.now,
        reconciler=case.reconciler,
        unplanned=case.unplanned,
        now=tuple(_now(plan)) if plan is not None and acts else (),
        changes=plan.changes if plan is not None else (),
        done=tuple(_done(case)),
        log=_log(case.status),
        following=tuple(_following(case, state)),
        advice=advise(case.status, state, reason, _facts(case)),
    )


def _facts(case: Case) -> Mapping[str, str]:
    """Return what commands are made of, beside the name."""
    facts = {"path": str(case.spec.path)} if case.spec is not None else {}
    if case.hold is not None and case.hold.everything:
        facts["held"] = "all"
    if case.spec is not None and case.spec.suspended:
        facts["suspended"] = "file"
    if case.masses:
        facts["mass"] = next(iter(case.masses))
    if not case.reconciler:
        facts["nobody"] = "yes"
    if any(each.missing for each in case.upstream):
        facts["missing"] = "yes"
    waits = [e.name for e in case.upstream if e.state is not State.READY and not e.missing]
    if waits:
        facts["dependency"] = waits[0]
    return facts


def _standing(case: Case) -> tuple[State, Reason]:
    """Return how it stands: as a plan says that does nothing, else as it is remembered."""
    plan, status = case.plan, case.status
    if case.problem:
        return State.INVALID, Reason(ReasonCode.INVALID, case.problem)
    if case.spec is None and status.removal is None:
        message = "the file is gone, and no run has looked since"
        return State.WAITING, Reason(ReasonCode.REMOVED, message)
    if _held_by_mass(case) and status.reason is not None:
        return status.state, status.reason
    if plan is not None and not plan.actions and not plan.needs_history:
        return plan.state, plan.verdict
    if case.hold is not None and status.run is None and plan is None:
        return State.SUSPENDED, suspended_by(case.hold, status.name)
    if status.reason is None:
        return State.UNKNOWN, Reason(ReasonCode.NEW, "no run has looked at it yet")
    return status.state, status.reason


def _held_by_mass(case: Case) -> bool:
    """Whether a guard holds it that one spec's own plan knows nothing of."""
    reason = case.status.reason
    guards = {ReasonCode.MASS_CHANGE, ReasonCode.MASS_REMOVAL}
    return bool(case.masses) and reason is not None and reason.code in guards


def _since(case: Case, state: State) -> datetime | None:
    status = case.status
    if state is State.SUSPENDED and case.hold is not None:
        return case.hold.at
    if state is not status.state:
        return None
    if state is State.PROGRESSING and status.run is not None:
        return status.run.started or status.run.submitted
    kind = _CONDITIONS.get(state, "Ready")
    return next((c.last_transition for c in status.conditions if c.type == kind), None)


def _now(plan: Plan) -> Iterator[str]:
    yield f"{', '.join(does(action) for action in plan.actions)}: {plan.verdict.message}"


# ---------------------------------------------------------------- what was done


def _done(case: Case) -> Iterator[str]:
    status = case.status
    if status.intent is not None:
        intent = status.intent
        told = f"{intent.operation} was asked for, {when(intent.at, case.now)}"
        yield f"{told}; no answer has come yet"
    if status.run is not None:
        run = status.run
        begun = run.started or run.submitted
        verb = "runs" if run.started is not None else "is queued"
        yield f"{_named(run)} {verb} since {when(begun, case.now)}"
    if status.canceling is not None:
        yield f"{status.canceling.by} cancelled it, {when(status.canceling.at, case.now)}"
    last, latest = status.last, status.latest
    if latest is not None:
        before = "before that: " if status.run is not None else ""
        yield before + _ended(latest, case.now)
    if last is not None and (latest is None or last.version != latest.version):
        earlier = latest is not None or status.run is not None
        before = "before that, towards what the spec wants: " if earlier else ""
        yield before + _ended(last, case.now)
    if status.latest is None and last is None and status.run is None and status.intent is None:
        yield "nothing was ever run for it from here"
    if status.failures:
        yield f"{status.failures} failed since what is wanted last changed"


def because(cause: Cause) -> str:
    """Say what a run is for."""
    if cause.kind is CauseKind.SCHEDULE:
        return f"schedule {cause.schedule}"
    if cause.kind is CauseKind.TRIGGER:
        return f"{cause.by} asked for it"
    return _CAUSES[cause.kind]


def _named(run: Run) -> str:
    return f"{run.operation} (version {run.version}; {because(run.cause)})"


def _ended(run: Run, now: datetime) -> str:
    if not run.run_id:
        return f"{run.message}, {when(run.finished or run.submitted, now)}"
    begun = run.started or run.submitted
    took = f" after {span(run.finished - begun)}" if run.finished is not None else ""
    finished = f", {when(run.finished, now)}" if run.finished is not None else ""
    how = "succeeded" if run.end is RunEnd.SUCCEEDED else f"ended as {run.end}"
    at = f" at {run.commit[:12]}" if run.commit else ""
    said = "" if run.end is RunEnd.SUCCEEDED else f": {run.message}"
    return f"{_named(run)} {how}{at}{took}{finished}{said}"


def _log(status: Status) -> tuple[str, ...]:
    for run in (status.latest, status.last):
        if run is not None and run.log and run.end is not RunEnd.SUCCEEDED:
            return tuple(line.rstrip() for line in run.log[-LOG_LINES:])
    return ()


# ---------------------------------------------------------------- what comes


def _following(case: Case, state: State) -> Iterator[str]:
    """Yield what time, others or people will bring."""
    if case.problem:
        claimed = "; its stack stays claimed" if case.status.stack else ""
        yield f"nothing starts until the file is mended{claimed}"
    if case.readable is not None:
        read = when(case.readable, case.now)
        yield f"its file changed just now: it is read once it was left alone, {read} at the latest"
    yield from _run(case)
    yield from _retry(case, state)
    yield from _approval(case)
    for each, count in case.masses.items():
        yield f"held as one of {count} that changed or went at once (ID {each})"
    for neighbour in case.upstream:
        yield _dependency(neighbour)
    yield from _removal(case)
    if case.spec is not None:
        yield from _by_spec(case, case.spec, state)
    if not case.reconciler:
        yield "nobody reconciles this directory now, so nothing happens by itself"
    elif case.plan is not None and case.plan.look_again_at is not None:
        again = when(case.plan.look_again_at, case.now)
        yield f"looked at again {again}, or when something changes"


def _by_spec(case: Case, spec: Spec, state: State) -> Iterator[str]:
    """Yield what the spec itself says of times to come."""
    if state in {State.SUSPENDED, State.INVALID}:
        if spec.suspended:
            yield f"nothing starts as long as {spec.path} says reconcile: {{suspend: true}}"
        if spec.schedules:
            yield f"its schedules rest while it is {state}"
        return
    yield from _windows(case, spec)
    for schedule in spec.schedules:
        yield _slot(case, spec, schedule)
    ends = expiry(spec, case.status)
    if ends is not None and not case.status.destroyed:
        yield f"its stack is destroyed {when(ends, case.now)} (reconcile.destroyAfter)"


def _run(case: Case) -> Iterator[str]:
    status = case.status
    if status.intent is not None:
        yield "looked for among the stack's versions, and asked for again where it is not there"
    run = status.run
    if run is None:
        return
    if run.started is not None:
        usually = usual_of(status, run.operation)
        if usually is not None:
            yield f"it has run {so_far(case.now - run.started, usually)}"
    yield "when it has ended, what is wanted then is looked at"
    if run.started is not None and case.spec is not None and status.canceling is None:
        ends = (run.seen_running or run.started) + case.spec.timeout
        yield f"cancelled where it still runs (reconcile.timeout): {when(ends, case.now)}"


def _retry(case: Case, state: State) -> Iterator[str]:
    status, spec = case.status, case.spec
    if status.next_attempt is None or state not in {State.FAILED, State.WAITING, State.UNKNOWN}:
        return
    tries = ""
    if spec is not None and state is State.FAILED:
        tries = f": try {status.failures + 1} of {spec.retry.limit + 1}"
    if case.now < status.next_attempt:
        yield f"tried again {when(status.next_attempt, case.now)}{tries}"
    else:
        yield f"tried again in the next pass{tries}"


def _approval(case: Case) -> Iterator[str]:
    approval = case.status.approval
    if approval is None or approval.granted is not None:
        return
    ends = approval.asked + APPROVAL_LASTS
    if case.now < ends:
        shown = f", as version {approval.version} has shown it" if approval.version else ""
        yield f"{approval.operation} can be approved until {when(ends, case.now)}{shown}"


def _dependency(of: Neighbour) -> str:
    if of.missing:
        return f"depends on {of.name}: there is no such spec"
    said = f": {of.message}" if of.message else ""
    return f"depends on {of.name}, which is {of.state}{said}"


def _removal(case: Case) -> Iterator[str]:
    removal = case.status.removal
    if removal is None or removal.begun is not None or removal.confirmed:
        return
    counts = removal.since + GONE_AFTER
    if case.now < counts:
        yield f"its file counts as removed {when(counts, case.now)}, where it does not come back"


def _windows(case: Case, spec: Spec) -> Iterator[str]:
    groups = (spec.windows, case.windows)
    if windows.open_in_all(groups, case.now):
        return
    opens = windows.next_opening_of_all(groups, case.now)
    told = f"open {when(opens, case.now)}" if opens is not None else "never open"
    yield f"its windows are closed now, and {told}"


def _slot(case: Case, spec: Spec, schedule: Schedule) -> str:
    known = next((s for s in case.status.schedules if s.name == schedule.name), None)
    after = case.now if known is None else max(known.last, case.now)
    slot = slots.following(schedule, after, slots.slot_key(spec, schedule))
    head = f"schedule {schedule.name}, {schedule.operation}:"
    last = ""
    if known is not None and known.outcome:
        version = f" (version {known.version})" if known.version else ""
        last = f"; the last one: {known.outcome}{version}"
    if known is not None and known.due is not None:
        return f"{head} due {when(known.due, case.now)}, and waits{last}"
    if slot is None:
        return f"{head} no more{last}"
    starts = windows.next_opening_of_all((spec.windows, case.windows), slot)
    if starts is None:
        return f"{head} due {when(slot, case.now)}, and never runs: its windows never open{last}"
    waits = f", runs when its windows open, {when(starts, case.now)}" if starts != slot else ""
    return f"{head} {when(slot, case.now)}{waits}{last}"
