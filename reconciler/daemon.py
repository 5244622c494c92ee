"""The loop: look, plan, admit, carry out, write; then sleep until something can change.

A pass looks only at the names that are dirty or due. Events (a file, a request by hand)
only mark names dirty: what is done is decided from the state. Nothing here decides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from reconciler.clock import Clock
from reconciler.errors import NotDurableError
from reconciler.executor import Executor
from reconciler.model import (
    Catalog,
    Desired,
    HandRequest,
    Plan,
    Reason,
    ReasonCode,
    Spec,
    State,
    Status,
    Submit,
    Upstream,
)
from reconciler.observer import Observer
from reconciler.planning import admission, planner, transitions
from reconciler.planning.admission import Limits
from reconciler.planning.graph import Order, order
from reconciler.ports import Requests, Resolves, Specs, Statuses

__all__ = ["Daemon", "Parts", "Standing"]

# The full scan is the truth; a lost event costs at most this long.
RESCAN_EVERY = timedelta(seconds=30)

# How often requests by hand are looked for: a directory listing, and a person is waiting.
REQUESTS_EVERY = timedelta(milliseconds=500)

# A pass goes round again where an action opens the way to the next; more is a mistake of ours.
MOST_ROUNDS = 8

# Where a status file cannot be written (disk full, read-only), it is tried again.
NOT_DURABLE_AGAIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the loop is made of. `say` is told each time a stack's standing changes."""

    specs: Specs
    statuses: Statuses
    requests: Requests
    resolver: Resolves
    observer: Observer
    executor: Executor
    clock: Clock
    limits: Limits
    say: Callable[[str, State, Reason], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one name stood at the end of the last pass that looked at it."""

    plan: Plan
    path: Path

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen without an event from outside."""
        if self.plan.verdict.code in {ReasonCode.ACCESS_DENIED, ReasonCode.SOURCE_UNAVAILABLE}:
            return True  # a person is needed, or a later run
        if self.plan.state is State.FAILED:
            return self.plan.verdict.code is ReasonCode.REFUSED
        if self.held_by_limit:
            return False  # its turn comes when another ends
        return self.plan.state not in {State.PROGRESSING, State.UNKNOWN}

    @property
    def held_by_limit(self) -> bool:
        """Whether it only waits for others to end."""
        return self.plan.verdict.code is ReasonCode.LIMIT


@dataclass(slots=True)
class _Memory:
    """What the loop keeps between passes; all of it can be found again from files."""

    catalog: Catalog | None = None
    order: Order | None = None
    rescan_at: datetime | None = None
    specs: dict[str, Spec] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    told: dict[str, tuple[State, Reason]] = field(default_factory=dict)
    again_at: dict[str, datetime] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)


class Daemon:
    """Runs passes. One instance, one thread; `stop` and `wake` may be called from others.

    `started` counts the creates that were carried out.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._memory = _Memory()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._rescan = threading.Event()
        self._marks: set[str] = set()
        self._marking = threading.Lock()
        self._only: frozenset[str] = frozenset()
        self.started = 0

    # ------------------------------------------------------------ the loop

    def run(self) -> None:
        """Run passes until told to stop."""
        while not self._stopping.is_set():
            self.tick()
            self._sleep(None)

    def run_once(self, limit: timedelta, only: frozenset[str] = frozenset()) -> bool:
        """Run passes until all (or those in `only`) are settled; False at the time limit."""
        self._only = only
        deadline = self._parts.clock.now() + limit
        while not self._stopping.is_set():
            self.tick()
            if self._settled():
                return True
            if self._parts.clock.now() >= deadline:
                return False
            self._sleep(deadline)
        return False

    def survey(self) -> tuple[Plan, ...]:
        """Plan every name without doing anything, and return the plans, by name."""
        now = self._parts.clock.now()
        self._scan(now)
        memory, requests = self._memory, self._requests()
        assert memory.order is not None  # noqa: S101 - there has been a scan
        wanted: dict[str, Desired] = {}
        plans = []
        for name in (n for n in memory.order.names if self._plannable(n)):
            plan = self._plan(name, wanted, requests.get(name, ()))
            plans.append(plan)
            memory.standings[name] = Standing(plan=plan, path=memory.specs[name].path)
        for plan in admission.admit(plans, self._in_flight(), self._parts.limits):
            memory.standings[plan.name] = replace(memory.standings[plan.name], plan=plan)
        return tuple(s.plan for _, s in sorted(memory.standings.items()))

    def stop(self) -> None:
        """End the loop: nothing new is started, what is written stays, deployments go on."""
        self._stopping.set()
        self._woken.set()

    def wake(self) -> None:
        """Something may have changed on disk: scan in the next pass, which is now."""
        self._rescan.set()
        self._woken.set()

    def mark(self, names: Iterable[str]) -> None:
        """What these names want may have changed: look at them in the next pass, which is now."""
        with self._marking:
            self._marks.update(names)
        self._woken.set()

    def standings(self) -> Mapping[str, Standing]:
        """Return how every name stands."""
        return dict(sorted(self._memory.standings.items()))

    def statuses(self) -> Mapping[str, Status]:
        """Return what is remembered of every name."""
        return dict(sorted(self._memory.statuses.items()))

    def _settled(self) -> bool:
        standings = self._memory.standings
        found = [s for n, s in standings.items() if not self._only or n in self._only]
        # Those that hold a place and are not among `only` are not followed here to their end.
        return all(s.settled or (self._only and s.held_by_limit) for s in found)

    def _in_flight(self) -> int:
        return sum(1 for s in self._memory.statuses.values() if s.run or s.intent)

    def _sleep(self, deadline: datetime | None) -> None:
        now = self._parts.clock.now()
        moments = [now + REQUESTS_EVERY, *self._memory.again_at.values()]
        if deadline is not None:
            moments.append(deadline)
        self._parts.clock.wait_until(max(min(moments), now), self._woken)
        self._woken.clear()

    # ------------------------------------------------------------ one pass

    def tick(self) -> None:
        """Do one pass over the names that are dirty or due."""
        now = self._parts.clock.now()
        self._scan(now)
        requests = self._requests()
        due = self._due(now, requests)
        for _ in range(MOST_ROUNDS):
            if not due or self._stopping.is_set():
                return
            due = self._round(due, requests)
            requests = self._requests()
        self._memory.dirty |= due

    def _scan(self, now: datetime) -> None:
        memory = self._memory
        if memory.rescan_at is not None and now < memory.rescan_at and not self._rescan.is_set():
            return
        self._rescan.clear()
        memory.rescan_at = now + RESCAN_EVERY
        catalog = self._parts.specs.scan()
        if catalog == memory.catalog:
            return
        memory.catalog = catalog
        fresh = {spec.name: spec for spec in catalog.specs}
        memory.dirty |= {n for n, spec in fresh.items() if memory.specs.get(n) != spec}
        gone = memory.standings.keys() - fresh.keys() - catalog.broken.keys()
        for name in gone if catalog.complete else ():
            # The file is gone: nothing is started for it any more. Its status file stays.
            for table in (memory.standings, memory.again_at, memory.statuses):
                table.pop(name, None)
        memory.specs = fresh
        memory.order = order({spec.name: spec.depends_on for spec in catalog.specs})
        for name in memory.specs.keys() | catalog.broken.keys():
            if name not in memory.statuses:
                memory.statuses[name] = self._parts.statuses.read(name)
        self._set_aside(catalog, now)

    def _set_aside(self, catalog: Catalog, now: datetime) -> None:
        """Record what cannot be planned: broken files, cycles, conflicts."""
        memory = self._memory
        aside: dict[str, tuple[State, Reason, Path]] = {}
        for name, (problem, _) in catalog.broken.items():
            reason = Reason(ReasonCode.INVALID, str(problem))
            aside[name] = (State.INVALID, reason, problem.path)
        assert memory.order is not None  # noqa: S101 - made from the same catalog
        for name, circle in memory.order.cycles.items():
            message = f"dependsOn goes in a circle: {' → '.join(circle)}"
            spec = memory.specs[name]
            aside[name] = (State.INVALID, Reason(ReasonCode.INVALID, message), spec.path)
        claimed = {str(s): (n, p.path) for n, (p, s) in catalog.broken.items() if s is not None}
        for name, reason in admission.conflicts(catalog.specs, memory.statuses).items():
            aside.setdefault(name, (State.CONFLICT, reason, memory.specs[name].path))
        for spec in catalog.specs:
            if str(spec.stack) in claimed and spec.name not in aside:
                other = claimed[str(spec.stack)][1]
                message = f"the stack {spec.stack} is also claimed by {other}, which is invalid"
                reason = Reason(ReasonCode.CONFLICT, message)
                aside[spec.name] = (State.CONFLICT, reason, spec.path)
        for name, (state, reason, path) in aside.items():
            memory.dirty.discard(name)
            plan = Plan(name=name, state=state, verdict=reason)
            try:
                self._stand(name, plan, path, now)
            except NotDurableError:
                memory.rescan_at = now + NOT_DURABLE_AGAIN
        # What was set aside before and is not now has to be looked at.
        memory.dirty |= {
            n
            for n, s in memory.standings.items()
            if n not in aside and s.plan.state in {State.INVALID, State.CONFLICT}
        }

    def _requests(self) -> Mapping[str, tuple[HandRequest, ...]]:
        found: dict[str, tuple[HandRequest, ...]] = {}
        for request in self._parts.requests.all():
            found[request.name] = (*found.get(request.name, ()), request)
        return found

    def _plannable(self, name: str) -> bool:
        standing = self._memory.standings.get(name)
        aside = standing is not None and standing.plan.state in {State.INVALID, State.CONFLICT}
        return name in self._memory.specs and (not aside or name in self._memory.dirty)

    def _due(self, now: datetime, requests: Iterable[str]) -> set[str]:
        memory = self._memory
        with self._marking:
            memory.dirty |= self._marks
            self._marks.clear()
        due = {n for n, moment in memory.again_at.items() if moment <= now}
        # As many as may start now: to look at a stack costs calls.
        free = max(self._parts.limits.max_concurrent - self._in_flight(), 0)
        held = sorted(n for n, s in memory.standings.items() if s.held_by_limit)
        due |= set(held[:free])
        found = {n for n in memory.dirty | due | set(requests) if self._plannable(n)}
        if self._only:
            found &= self._only
        memory.dirty.clear()
        return found

    def _round(self, due: set[str], requests: Mapping[str, tuple[HandRequest, ...]]) -> set[str]:
        """Plan all that are due, admit, carry out; return those to be planned again at once."""
        memory, parts = self._memory, self._parts
        assert memory.order is not None  # noqa: S101 - there has been a scan
        runs = {n: s.run for n, s in memory.statuses.items() if s.run is not None}
        parts.observer.start_pass(
            (memory.specs[n].stack, run.id) for n, run in runs.items() if n in memory.specs
        )
        wanted: dict[str, Desired] = {}
        plans: list[Plan] = []
        before = {n: s.plan.state for n, s in memory.standings.items()}
        for name in (n for n in memory.order.names if n in due):
            plan = self._plan(name, wanted, requests.get(name, ()))
            plans.append(plan)
            self._stand(name, plan, memory.specs[name].path, parts.clock.now(), write=False)
        again: set[str] = set()
        for plan in admission.admit(plans, self._in_flight(), parts.limits):
            if self._carry_out(plan, wanted[plan.name]):
                again.add(plan.name)
        changed = {n for n, s in memory.standings.items() if before.get(n) is not s.plan.state}
        return again | {
            n
            for n, spec in memory.specs.items()
            if changed.intersection(spec.depends_on) and self._plannable(n)
        }

    def _plan(
        self, name: str, wanted: dict[str, Desired], requests: tuple[HandRequest, ...]
    ) -> Plan:
        memory, parts = self._memory, self._parts
        spec, now = memory.specs[name], parts.clock.now()
        status = transitions.prepared(memory.statuses[name], spec, now)
        memory.statuses[name] = status
        wanted[name] = parts.resolver.desired(spec)
        upstream = tuple(self._upstream(n) for n in spec.depends_on)
        observed = parts.observer.look(spec, status, upstream, requests)
        return planner.plan(wanted[name], observed, parts.clock.now())

    def _upstream(self, name: str) -> Upstream:
        standing = self._memory.standings.get(name)
        if standing is not None:
            return Upstream(name, standing.plan.state)
        if name in self._memory.specs:
            return Upstream(name, self._memory.statuses[name].state)
        return Upstream(name, State.UNKNOWN, missing=True)

    def _carry_out(self, plan: Plan, desired: Desired) -> bool:
        """Carry a plan out; True where the stack is to be planned again at once."""
        memory, parts = self._memory, self._parts
        name, path, now = plan.name, desired.spec.path, parts.clock.now()
        try:
            self._stand(name, plan, path, now)
            for action in plan.actions:
                if isinstance(action, Submit):
                    if self._stopping.is_set():
                        return False
                    self.started += 1
                memory.statuses[name] = parts.executor.carry_out(
                    action, desired, memory.statuses[name]
                )
        except NotDurableError as error:
            # Nothing was started, or its intent is on disk: start from what is there.
            memory.statuses[name] = parts.statuses.read(name)
            reason = Reason(ReasonCode.NOT_DURABLE, str(error))
            again_at = now + NOT_DURABLE_AGAIN
            held = Plan(name=name, state=State.UNKNOWN, verdict=reason, look_again_at=again_at)
            self._stand(name, held, path, now, write=False)
            self._tell(name, held)
            return False
        return bool(plan.actions)

    def _stand(
        self, name: str, plan: Plan, path: Path, now: datetime, *, write: bool = True
    ) -> None:
        """Take down how it stands, tell of a change, and write the status file if it is new."""
        memory = self._memory
        memory.standings[name] = Standing(plan=plan, path=path)
        if plan.look_again_at is None:
            memory.again_at.pop(name, None)
        else:
            memory.again_at[name] = plan.look_again_at
        if write:
            status = transitions.verdict(memory.statuses[name], plan, now)
            memory.statuses[name] = self._parts.statuses.write(status)
            self._tell(name, plan)

    def _tell(self, name: str, plan: Plan) -> None:
        if self._memory.told.get(name) != (plan.state, plan.verdict):
            self._memory.told[name] = (plan.state, plan.verdict)
            self._parts.say(name, plan.state, plan.verdict)
