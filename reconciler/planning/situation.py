"""What a rule of the planner looks at, and how it answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.api.types import Operation
from reconciler.model import (
    Action,
    Attempt,
    Desired,
    HandRequest,
    History,
    Observed,
    Plan,
    Reason,
    RequestKind,
    Run,
    Schedule,
    ScheduleStatus,
    Spec,
    State,
    Status,
    Unknown,
)
from reconciler.planning import slots
from reconciler.planning.digest import changes, digest, with_operation
from reconciler.values import replace

__all__ = [
    "Rule",
    "Situation",
    "as_wanted_now",
    "differences",
    "expiry",
    "first_answer",
    "looks_for_end",
    "moved",
    "same_wanted",
    "source_change",
    "source_of",
    "spec_changed",
]


@dataclass(frozen=True, slots=True)
class Situation:
    """One stack at one moment: what is wanted, and what is known."""

    desired: Desired
    observed: Observed
    now: datetime

    @property
    def spec(self) -> Spec:
        """The spec."""
        return self.desired.spec

    @property
    def status(self) -> Status:
        """What is remembered."""
        return self.observed.status

    @property
    def operation(self) -> Operation:
        """What brings the stack to what is wanted."""
        return Operation.DESTROY if self.expired else self.spec.request.operation

    @property
    def expired(self) -> bool:
        """Whether the time of `destroyAfter` has come, as this process has seen for a while."""
        return _has_come(self.spec, self.observed, self.now)

    @property
    def ending(self) -> bool:
        """Whether the time of `destroyAfter` has come by a clock that may be wrong."""
        return self.observed.ends_in > timedelta(0)

    @property
    def history(self) -> History | None:
        """What the API tells of the stack, where it was asked for and answered."""
        return self.observed.history if isinstance(self.observed.history, History) else None

    @property
    def wanted(self) -> tuple[str, str]:
        """The digest and what counts of the source: what the stack should be at."""
        return self.desired.digest, source_of(self.desired)

    @property
    def attempted(self) -> bool:
        """Whether what is wanted is what was last asked for."""
        attempt = self.status.attempt
        return attempt is not None and same_wanted(attempt, self.desired)

    def triggers(self) -> tuple[HandRequest, ...]:
        """The runs asked for by hand, oldest first."""
        return self.requests(RequestKind.TRIGGER)

    def requests(self, kind: RequestKind) -> tuple[HandRequest, ...]:
        """What people asked for of one kind, oldest first."""
        return tuple(r for r in self.observed.requests if r.kind is kind)

    def remembered(self, schedule: Schedule) -> ScheduleStatus | None:
        """What is remembered of this very schedule; a new or edited one counts from now on."""
        return next(
            (
                s
                for s in self.status.schedules
                if s.name == schedule.name and s.definition == schedule.definition
            ),
            None,
        )

    def plan(
        self,
        state: State,
        verdict: Reason,
        *actions: Action,
        again_at: datetime | None = None,
        differing: tuple[str, ...] = (),
    ) -> Plan:
        """Return a plan for this stack, to be made again at `again_at`."""
        return Plan(
            name=self.desired.name,
            state=state,
            verdict=verdict,
            actions=actions,
            changes=differing,
            look_again_at=again_at,
        )

    def wait(
        self,
        state: State,
        verdict: Reason,
        *moments: datetime | None,
        differing: tuple[str, ...] = (),
    ) -> Plan:
        """Return a plan that does nothing until one of the moments, or anything else of ours.

        The source, the schedules and `destroyAfter` are looked at again in any case, so that no
        state that waits can sleep through them.
        """
        found = [*moments, self.desired.source_again_at, expiry(self.spec, self.status)]
        found += [self._next_slot(schedule) for schedule in self.spec.schedules]
        later = [m for m in found if m is not None and m > self.now]
        return self.plan(state, verdict, again_at=min(later, default=None), differing=differing)

    def need_history(self, plan: Plan) -> Plan:
        """Return the plan, to be made again once the API has told of the stack's history."""
        return replace(plan, actions=(), needs_history=True)

    def unknown(self, unknown: Unknown) -> Plan:
        """Return the plan that waits because something could not be looked up."""
        return self.plan(State.UNKNOWN, unknown.reason, again_at=unknown.again_at)

    def _next_slot(self, schedule: Schedule) -> datetime | None:
        known = self.remembered(schedule)
        after = self.now if known is None else max(known.last, self.now)
        return slots.following(schedule, after, slots.slot_key(self.spec, schedule))


Rule = Callable[[Situation], Plan | None]


def first_answer(rules: Sequence[Rule], at: Situation) -> Plan:
    """Return the plan of the first rule that has one; the last always has."""
    for rule in rules:
        answer = rule(at)
        if answer is not None:
            # With the history in hand there is nothing more to ask for.
            known = at.observed.history is not None and answer.needs_history
            return replace(answer, needs_history=False) if known else answer
    raise AssertionError("the last rule always answers")


def source_of(wanted: Desired | Attempt | Run) -> str:
    """Return what of the source counts as a change; the commit where nothing else is said."""
    return wanted.source or wanted.commit


def moved(before: Attempt | Run, wanted: Desired | Attempt) -> bool:
    """Whether the source has changed. At the same commit it has not, whichever paths count."""
    return before.commit != wanted.commit and source_of(before) != source_of(wanted)


def same_wanted(before: Attempt, wanted: Desired | Attempt) -> bool:
    """Whether what was asked for is what is wanted: the same request, of the same source."""
    return before.digest == wanted.digest and not moved(before, wanted)


def source_change(old: str, new: str) -> str:
    """Say that the source has another commit."""
    return f"source commit: {old[:12]} → {new[:12]}"


def differences(at: Situation) -> tuple[str, ...]:
    """Return what would start a run as it differs from what was last asked for, as sentences.

    Nothing where nothing was asked for yet, and where what is wanted is not known.
    """
    attempt, desired = at.status.attempt, at.desired
    if attempt is None or desired.blocked is not None:
        return ()
    found: tuple[str, ...] = ()
    if attempt.digest != desired.digest and at.spec.on_spec_change:
        found = changes(attempt.fields, desired.fields) or ("the spec has changed",)
    if moved(attempt, desired) and (found or at.spec.on_source_change):
        found += (source_change(attempt.commit, desired.commit),)
    return found


def spec_changed(desired: Desired, status: Status) -> bool:
    """Whether the request that the spec asks for is another than the last one asked for."""
    attempt = status.attempt
    return (
        attempt is not None
        and desired.blocked is None
        and desired.spec.on_spec_change
        and attempt.digest != desired.digest
    )


def expiry(spec: Spec, status: Status) -> datetime | None:
    """Return when the stack is to be destroyed; None where never, or not known yet."""
    after = spec.destroy_after
    if isinstance(after, timedelta):
        return status.first_applied + after if status.first_applied is not None else None
    return after


def as_wanted_now(desired: Desired, observed: Observed, now: datetime) -> Desired:
    """Return what is wanted at this moment: once `destroyAfter` has come, a destroy."""
    if desired.blocked is not None or not _has_come(desired.spec, observed, now):
        return desired
    return _ended(desired)


def looks_for_end(desired: Desired, status: Status, now: datetime) -> datetime | None:
    """Return the moment of `destroyAfter`, where it has come and nothing was asked for by it yet.

    That its time has come has to be seen for a while, as a clock may be set ahead.
    """
    moment = expiry(desired.spec, status)
    if moment is None or now < moment or status.destroyed:
        return None
    begun = {one.digest for one in (status.attempt, status.run) if one is not None}
    if status.intent is not None:
        begun.add(status.intent.attempt.digest)
    return None if _ended(desired).digest in begun else moment


def _has_come(spec: Spec, observed: Observed, now: datetime) -> bool:
    moment = expiry(spec, observed.status)
    return moment is not None and now >= moment and observed.ends_in <= timedelta(0)


def _ended(desired: Desired) -> Desired:
    operation = desired.spec.run_for(Operation.DESTROY)
    fields = with_operation(desired.fields, operation)
    return replace(desired, fields=fields, digest=digest(fields))
