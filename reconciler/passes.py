"""Plans the names of one pass: what is wanted and known of each is put together here.

Calls are made for many names at once; the plans are made one after the other, dependencies
first, so that each sees how those it depends on stand now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.api.types import StackRef
from reconciler.clock import Clock
from reconciler.executor import Job
from reconciler.fleet import Fleet, Standing
from reconciler.model import (
    Desired,
    Downstream,
    HandRequest,
    Holds,
    Observed,
    OnDelete,
    Plan,
    Reason,
    ReasonCode,
    Spec,
    State,
    Status,
    Upstream,
    Window,
)
from reconciler.observer import Observer
from reconciler.planning import planner, remembered, removal, transitions, underway
from reconciler.planning.situation import as_wanted_now, looks_for_end, spec_changed
from reconciler.pool import Pool
from reconciler.ports import Resolves
from reconciler.values import replace

__all__ = ["Given", "Planned", "Planner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and what it was made of; `job` is None where nothing is to be done.

    `told`: what is remembered says already what the plan says.
    """

    plan: Plan
    job: Job | None = None
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What people and the host say in this pass, and which histories are to be looked at.

    `gone_in` is of each missing file how long it has to be seen missing yet, `looks` how long a
    stack has to be seen at its end, in all.
    """

    requests: Mapping[str, tuple[HandRequest, ...]]
    holds: Holds
    recheck: frozenset[str]
    windows: tuple[Window, ...]
    gone_in: Mapping[str, timedelta]
    looks: timedelta


@dataclass(slots=True)
class _Draft:
    """One name on its way to a plan."""

    spec: Spec
    desired: Desired
    observed: Observed
    gone: bool
    plan: Plan

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.desired.name


class Planner:
    """Plans names of a fleet."""

    def __init__(self, fleet: Fleet, resolver: Resolves, observer: Observer, pool: Pool) -> None:
        self._fleet = fleet
        self._resolver = resolver
        self._observer = observer
        self._pool = pool
        # Whose status was made to fit its spec, and is not written so yet.
        self._unwritten: set[str] = set()

    def plan(self, names: Iterable[str], given: Given, clock: Clock) -> list[Planned]:
        """Plan names, in the order of their dependencies.

        What a plan was made of is held only where something is to be done, so that a pass over
        very many specs at rest takes little more memory than one over a few.
        """
        ordered = self._fleet.in_order(names)
        self._resolver.prepare(self._spec(name) for name in ordered)
        in_flight = self._follow(ordered, given, clock)
        planned: dict[str, Planned] = {}
        asking: list[_Draft] = []
        for name in ordered:
            draft = in_flight.get(name) or self._draft(name, given, clock)
            self._decide(draft, clock)
            planned[name] = self._planned(draft, clock)
            if draft.plan.needs_history or name in given.recheck:
                asking.append(draft)
        self._pool.map(self._ask_history, asking)
        for draft in asking:
            self._decide(draft, clock)
            planned[draft.name] = self._planned(draft, clock)
        self._unwritten.difference_update(ordered)
        return list(planned.values())

    def _follow(self, names: Iterable[str], given: Given, clock: Clock) -> Mapping[str, _Draft]:
        """Look at all runs and intents in flight at once."""
        fleet = self._fleet
        for name in names:
            # What such a one remembers, those it depends on ask for, and they come first.
            if name in fleet.specs and fleet.specs[name].depends_on:
                self._prepared(name, clock)
        drafts = [self._draft(name, given, clock) for name in names if name in fleet.in_flight]
        followed = [d for d in drafts if d.observed.status.run or d.observed.status.intent]
        self._observer.start_pass(
            (d.spec.stack, run.id) for d in followed if (run := d.observed.status.run) is not None
        )
        self._pool.map(self._ask_run, followed)
        return {draft.name: draft for draft in drafts}

    def _planned(self, draft: _Draft, clock: Clock) -> Planned:
        plan, status = draft.plan, draft.observed.status
        if plan.actions:
            return Planned(plan=plan, job=Job(desired=draft.desired, observed=draft.observed))
        told = transitions.same(transitions.verdict(status, plan, clock.now()), status)
        return Planned(plan=plan, told=told and draft.name not in self._unwritten)

    def _prepared(self, name: str, clock: Clock, digest: str = "") -> Status:
        """Return what is remembered, made to fit what the spec says now."""
        fleet, status = self._fleet, self._fleet.statuses[name]
        if _moves(status, fleet.specs[name]):
            return status
        fresh = transitions.prepared(status, fleet.specs[name], clock.now(), digest)
        if fresh is not status and fresh != status:
            fleet.put(fresh)
            self._unwritten.add(name)
        return fresh

    def _spec(self, name: str) -> Spec:
        fleet = self._fleet
        gone = name in fleet.gone
        return remembered.spec_of(fleet.statuses[name]) if gone else fleet.specs[name]

    def _draft(self, name: str, given: Given, clock: Clock) -> _Draft:
        """Put together what needs no call to the API."""
        fleet = self._fleet
        gone, spec = name in fleet.gone, self._spec(name)
        if gone:
            status = fleet.statuses[name]
            desired = self._resolver.removed(spec, status.attempt)
        else:
            desired = self._resolver.desired(spec)
            status = self._prepared(name, clock, desired.digest)
            if _moves(status, spec):
                # First what was sent for the stack before: found there, or forgotten, whatever
                # the spec now waits for.
                spec = replace(spec, stack=StackRef.parse(status.stack), suspended=True)
                desired = replace(desired, spec=spec, blocked=None)
        observed = Observed(
            status=status,
            requests=given.requests.get(name, ()),
            hold=given.holds.of(name),
            windows=given.windows,
            gone_in=given.gone_in.get(name, timedelta(0)),
        )
        if not gone and spec.destroy_after is not None:
            moment = looks_for_end(desired, status, clock.now())
            ends_in = self._observer.ends_in(spec, moment, given.looks)
            observed = replace(observed, ends_in=ends_in)
        # What a stack's end brings about is nobody's change.
        ends = spec.destroy_after is not None and desired is not as_wanted_now(
            desired, observed, clock.now()
        )
        if not gone and not ends and spec_changed(desired, status):
            fleet.changed[name] = desired.digest
        else:
            fleet.changed.pop(name, None)
        blank = Plan(name=name, state=State.UNKNOWN, verdict=_UNPLANNED)
        return _Draft(spec=spec, desired=desired, observed=observed, gone=gone, plan=blank)

    def _ask_run(self, draft: _Draft) -> None:
        draft.observed = self._observer.look(draft.spec, draft.observed)

    def _ask_history(self, draft: _Draft) -> None:
        draft.observed = self._observer.history(draft.spec, draft.observed)

    def _decide(self, draft: _Draft, clock: Clock) -> None:
        """Make the plan, with how the specs before and after it stand at this moment."""
        fleet, spec = self._fleet, draft.spec
        depends_on = () if draft.gone else spec.depends_on
        upstream = tuple(self._upstream(name) for name in depends_on)
        downstream = tuple(self._downstream(name) for name in self._depending(draft))
        if (upstream, downstream) != (draft.observed.upstream, draft.observed.downstream):
            draft.observed = replace(draft.observed, upstream=upstream, downstream=downstream)
        now = clock.now()
        sender = fleet.settling.get(str(spec.stack), draft.name)
        if sender != draft.name and draft.name not in fleet.in_flight:
            draft.plan = underway.wait_for_sender(draft.desired, draft.observed, now, sender)
        elif draft.gone:
            rival = fleet.contested.get(draft.name, "")
            claimant = rival or fleet.claimant(str(spec.stack), draft.name)
            plan = removal.plan_contested if rival else removal.plan_removal
            draft.plan = plan(draft.desired, draft.observed, now, claimant)
        else:
            if spec.destroy_after is not None:
                # What is carried out is remembered as what was wanted: or it would be so for ever.
                draft.desired = as_wanted_now(draft.desired, draft.observed, now)
            draft.plan = planner.plan(draft.desired, draft.observed, now)
        fleet.stand(draft.name, Standing(plan=draft.plan, path=spec.path))

    def _upstream(self, name: str) -> Upstream:
        fleet = self._fleet
        status, standing = fleet.statuses.get(name), fleet.standings.get(name)
        applied = status.applied if status is not None else 0
        stack = status.stack if status is not None else ""
        if name in fleet.specs or name in fleet.aside:
            state = standing.plan.state if standing is not None else State.UNKNOWN
            if standing is None and status is not None:
                state = status.state
            since = _applied_since(status)
            return Upstream(name, state, applied=applied, stack=stack, since=since)
        return Upstream(name, State.UNKNOWN, missing=True)

    def _depending(self, draft: _Draft) -> Iterable[str]:
        """Yield the names that a destroy of this stack has to wait for."""
        if not draft.gone and not draft.spec.wants_destroyed and draft.spec.destroy_after is None:
            return ()
        fleet = self._fleet
        lost = (n for n in fleet.gone if draft.name in remembered.dependencies(fleet.statuses[n]))
        # Whom one depends on whose file is gone, its status would tell.
        untold = fleet.unread.keys() - fleet.specs.keys()
        return (*fleet.dependents(draft.name), *sorted({*lost, *untold}))

    def _downstream(self, name: str) -> Downstream:
        fleet = self._fleet
        status = fleet.statuses.get(name)
        if name in fleet.unread:
            return Downstream(name, gone=False)
        if status is None or not remembered.may_be_there(status):
            return Downstream(name, gone=True)  # nothing of it was ever made
        spec = fleet.specs.get(name)
        if spec is None and name in fleet.gone:
            kept = remembered.spec_of(status).on_delete is OnDelete.KEEP
            return Downstream(name, gone=kept or status.destroyed)
        return Downstream(name, gone=status.destroyed)


def _moves(status: Status, spec: Spec) -> bool:
    """Whether a create without an answer is of another stack than the spec now names."""
    return status.intent is not None and status.stack != str(spec.stack)


def _applied_since(status: Status | None) -> datetime | None:
    """Return when what a dependency has applied was seen to be so, by our clock."""
    last = status.last if status is not None else None
    if status is None or last is None or last.version != status.applied:
        return None
    return last.seen_ended or last.finished


_UNPLANNED = Reason(ReasonCode.NEW, "it was not planned yet")
