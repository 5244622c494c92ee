"""The loop: look, plan, admit, carry out, write; then sleep until something can change.

A pass looks only at the names that are dirty or due. Events (a file, a request by hand)
only mark names dirty: what is done is decided from the state. Nothing here decides.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from reconciler.errors import NotDurableError
from reconciler.executor import Job
from reconciler.fleet import Fleet, Standing
from reconciler.heap import Heap
from reconciler.masses import Masses
from reconciler.metrics import Reading, of_loop
from reconciler.model import (
    Forget,
    HandRequest,
    Holds,
    MarkRemoved,
    Plan,
    Reason,
    ReasonCode,
    RequestKind,
    Spec,
    State,
    Status,
    Submit,
)
from reconciler.observer import Known
from reconciler.parts import About, Parts
from reconciler.passes import Given, Planned, Planner
from reconciler.patience import CLOCK_TOLERANCE
from reconciler.planning import admission, transitions
from reconciler.planning.removal import ONCE_LOOKS
from reconciler.rolls import Rolls
from reconciler.traces import Attribute
from reconciler.values import replace

__all__ = ["About", "Daemon", "Parts", "Standing"]

# The full scan is the truth; a lost event costs at most this long.
RESCAN_EVERY = timedelta(seconds=30)

# How often requests by hand are looked for: a directory listing, and a person is waiting.
REQUESTS_EVERY = timedelta(milliseconds=500)

# How often an organization's list is asked for what others have deployed.
NEWS_EVERY = timedelta(seconds=60)

# A stack of which that list lacks what we know is looked at by itself, for two calls: so often,
# and not more of them at a time.
DOUBTED_EVERY = timedelta(hours=1)
MOST_DOUBTED = 100

# Of very many files that are waited for, each with its own moment, those of so long are one look.
WRITING_EVERY = timedelta(milliseconds=200)

# A pass goes round again where an action opens the way to the next; more is a mistake of ours.
MOST_ROUNDS = 8

# More changed files than this are found sooner by a scan, which costs about as much as these.
MOST_LOOKS = 256

# Of so many plans what came of them is held before it is taken down: of 100,000 it were 500 MB.
AT_A_TIME = 1_000

# Where a status file cannot be written (disk full, read-only), it is tried again.
NOT_DURABLE_AGAIN = timedelta(seconds=10)


# What a change may still be on its way in to its create.
_WAITING = frozenset({State.PROGRESSING, State.WAITING, State.UNKNOWN})

# A missing file counts as removed from here on.
_BEGINS = MarkRemoved(begun=True)


@dataclass(slots=True)
class _Memory:
    """What the loop keeps between passes, beside the fleet."""

    seen: datetime | None = None
    rescan_at: datetime | None = None
    scanned: bool = False  # in this pass
    news_at: datetime | None = None
    holds: Holds = field(default_factory=Holds)
    told: dict[str, tuple[State, Reason]] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    noticed: dict[str, datetime] = field(default_factory=dict)
    recheck: set[str] = field(default_factory=set)
    # By organization: the stacks of which a list has lacked what we know, and until when those
    # are not doubted again.
    doubted: dict[str, dict[str, datetime]] = field(default_factory=dict)


class Daemon:
    """Runs passes. One instance, one thread; `stop` and `wake` may be called from others.

    `started` counts the creates that were carried out.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._fleet = Fleet()
        self._memory = _Memory()
        by_hand = (parts.holds, parts.requests)
        self._rolls = Rolls(self._fleet, parts.specs, parts.statuses, parts.clock, by_hand)
        self._masses = Masses(self._fleet, self._rolls, parts.holds, parts.limits)
        self._planner = Planner(self._fleet, parts.resolver, parts.observer, parts.pool)
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._rescan = threading.Event()
        self._marks: set[str] = set()
        self._paths: set[str] = set()
        self._heard: datetime | None = None  # when the first of both came, since the last pass
        self._marking = threading.Lock()
        self._only: frozenset[str] = frozenset()
        self._passed: Callable[[], None] = lambda: None
        self.started = 0

    # ------------------------------------------------------------ the loop

    def run(self) -> None:
        """Run passes until told to stop."""
        heap = Heap()
        while not self._stopping.is_set():
            self.tick()
            heap.after_pass(len(self._fleet.specs))
            self._passed()
            self._sleep(None)

    def tell(self, passed: Callable[[], None], got_on: Callable[[], None]) -> None:
        """Have `passed` called after each pass, and `got_on` after each piece of one's work.

        The first is called by the loop's own thread, the second by any. A loop that hangs calls
        neither.
        """
        self._passed = passed
        self._parts.pool.done = got_on

    def run_once(self, limit: timedelta, only: frozenset[str] = frozenset()) -> bool:
        """Run passes until all (or those in `only`) are settled; False at the time limit."""
        self._only, self._rolls.looks = only, ONCE_LOOKS
        deadline = self._parts.clock.now() + limit
        while not self._stopping.is_set():
            self.tick()
            if self._settled():
                return True
            if self._parts.clock.now() >= deadline:
                return False
            self._sleep(deadline)
        return False

    def survey(self, only: frozenset[str] = frozenset()) -> tuple[Plan, ...]:
        """Plan every name (or those in `only`) without doing anything; the plans, by name."""
        fleet, now = self._fleet, self._parts.clock.now()
        self._rolls.looks = timedelta(0)  # it tells what a run comes to
        self._scan(now)
        self._memory.holds = self._parts.holds.read()
        names = {n for n in {*fleet.specs, *fleet.gone} if fleet.plannable(n)}
        names &= only or names
        planned = self._look(names, self._requests())
        facts = self._masses.facts(now, names, self._memory.holds)
        self._masses.held = admission.masses(facts, self._parts.limits)
        plans = admission.admit([p.plan for p in planned], facts, self._parts.limits)
        for plan in plans:
            fleet.stand(plan.name, Standing(plan=plan, path=self._path(plan.name)))
        found = sorted(fleet.standings.items())
        return tuple(s.plan for name, s in found if not only or name in only)

    def stop(self) -> None:
        """End the loop: nothing new is started, what is written stays, deployments go on."""
        self._stopping.set()
        self._woken.set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def wake(self) -> None:
        """Something may have changed on disk: scan in the next pass, which is now."""
        self._rescan.set()
        self._woken.set()

    def touched(self, paths: Iterable[str]) -> None:
        """These files (paths below the directory) have changed: look at them in the next pass."""
        with self._marking:
            if len(self._paths) <= MOST_LOOKS:  # with more of them, all are looked at
                self._paths.update(paths)
            self._heard = self._heard or self._parts.clock.now()
        self._woken.set()

    def mark(self, names: Iterable[str]) -> None:
        """What these names want may have changed: look at them in the next pass, which is now."""
        with self._marking:
            self._marks.update(names)
            self._heard = self._heard or self._parts.clock.now()
        self._woken.set()

    # ------------------------------------------------------------ for those who look on

    def specs(self) -> Mapping[str, Spec]:
        """Return every valid spec, as the last pass has read it."""
        return dict(self._fleet.specs)

    def about(self, name: str) -> About:
        """Return what is known of one name."""
        fleet = self._fleet
        return About(
            spec=fleet.specs.get(name),
            status=fleet.statuses.get(name) or Status(name=name),
            standing=fleet.standings.get(name),
            aside=fleet.aside.get(name),
        )

    def standings(self) -> Mapping[str, Standing]:
        """Return how every name stands."""
        return dict(sorted(self._fleet.standings.items()))

    def statuses(self) -> Mapping[str, Status]:
        """Return what is remembered of every name."""
        return dict(sorted(self._fleet.statuses.items()))

    def spec(self, name: str) -> Spec | None:
        """Return the spec of a name; None where it has no valid file."""
        return self._fleet.specs.get(name)

    def readings(self) -> Iterable[Reading]:
        """Tell how everything stands, for a scrape. May run in any thread."""
        fleet, seen = self._fleet, self._memory.seen
        standings = tuple(fleet.standings.values())
        found = Counter((s.plan.state, s.plan.verdict.code) for s in standings)
        for (state, reason), number in sorted(found.items()):
            yield Reading(of_loop.SPECS, number, (str(state), str(reason)))
        yield Reading(of_loop.DRIFTED, len(fleet.drifted))
        yield Reading(of_loop.IN_FLIGHT, len(fleet.in_flight))
        yield Reading(of_loop.MASSES, len(self._masses.held))
        if seen is not None:
            yield Reading(of_loop.LAST_PASS, seen.timestamp())

    def masses(self) -> tuple[admission.Mass, ...]:
        """Return the changes and removals that are held because there are very many."""
        return self._masses.held

    def _settled(self) -> bool:
        if self._parts.specs.writing:
            return False
        standings = self._fleet.standings
        found = [s for n, s in standings.items() if not self._only or n in self._only]
        soon = self._parts.clock.now() + ONCE_LOOKS
        # Those that hold a place and are not among `only` are not followed here to their end.
        return all(
            (s.settled or (self._only and s.held_by_limit)) and not s.gone_by(soon) for s in found
        )

    def _sleep(self, deadline: datetime | None) -> None:
        now = self._parts.clock.now()
        writing = min(self._parts.specs.writing.values(), default=None)
        if writing is not None:
            writing = max(writing, now + WRITING_EVERY)
        moments = [now + REQUESTS_EVERY, self._fleet.agenda.earliest(), writing, deadline]
        earliest = min(m for m in moments if m is not None)
        self._parts.clock.wait_until(max(earliest, now), self._woken)
        self._woken.clear()

    # ------------------------------------------------------------ one pass

    def tick(self) -> None:
        """Do one pass over the names that are dirty or due."""
        now = self._parts.clock.now()
        self._see_clock(now)
        self._scan(now)
        self._take_holds()
        self._take_news(now)
        requests = self._requests()
        due = self._due(now, requests)
        if due:
            self._parts.meter.observe(of_loop.PASS_NAMES, len(due))
            span = self._parts.tracer.span("pass", {"names": len(due)})
            with self._parts.meter.timed(of_loop.PASS), span:
                self._rounds(due, requests)

    def _rounds(self, due: set[str], requests: Mapping[str, tuple[HandRequest, ...]]) -> None:
        """Plan and carry out what is due, and what that makes due, within a bound."""
        for _ in range(MOST_ROUNDS):
            if not due or self._stopping.is_set():
                return
            due = self._round(due, requests)
            requests = self._requests()
            self._take_holds()
        self._memory.dirty |= due

    def _see_clock(self, now: datetime) -> None:
        """After a clock was set back nothing sleeps until what it had shown comes again."""
        memory, fleet = self._memory, self._fleet
        if memory.seen is not None and now < memory.seen - CLOCK_TOLERANCE:
            memory.rescan_at = memory.news_at = None
            memory.doubted.clear()
            memory.dirty |= {*fleet.specs, *fleet.gone}
        memory.seen = now

    def _scan(self, now: datetime) -> None:
        memory = self._memory
        with self._marking:
            paths, self._paths = self._paths, set()
        paths.update(path for path, until in self._parts.specs.writing.items() if until <= now)
        wanted = self._rescan.is_set() or self._rolls.overdue
        memory.scanned = wanted or memory.rescan_at is None or now >= memory.rescan_at
        if not memory.scanned:
            found = self._look_at(paths)
            if found is not None:
                memory.dirty |= found
                return
            memory.scanned = True
        self._rescan.clear()
        memory.rescan_at = now + RESCAN_EVERY
        with self._parts.meter.timed(of_loop.SCAN):
            found = self._rolls.scan()
        memory.dirty |= found
        if self._masses.held:  # what counted because it was new has become old
            memory.dirty |= self._tell_masses(self._masses.facts(now, (), memory.holds))
        if found:
            memory.dirty |= self._masses.names()
            for name, aside in self._fleet.aside.items():
                memory.dirty.discard(name)
                plan = Plan(name=name, state=aside.state, verdict=aside.reason)
                try:
                    self._stand(plan, aside.path, now)
                except NotDurableError:
                    memory.rescan_at = now + NOT_DURABLE_AGAIN

    def _look_at(self, paths: set[str]) -> set[str] | None:
        """Return the names that a few changed files concern; None: the scan has to tell."""
        if len(paths) > MOST_LOOKS:
            return None
        found = self._rolls.look(paths) if paths else set()
        return found | self._masses.names() if found else found

    def _take_holds(self) -> None:
        """See what people hold or let through; whom that concerns is looked at again."""
        self._masses.use_up(self._memory.holds)
        holds, before = self._parts.holds.read(), self._memory.holds
        if holds == before:
            return
        self._memory.holds = holds
        if holds.everything != before.everything:
            self._memory.dirty |= {*self._fleet.specs, *self._fleet.gone}
        names = {n for n in {*holds.names, *before.names} if holds.of(n) != before.of(n)}
        self._memory.dirty |= names | self._masses.names()

    def _take_news(self, now: datetime) -> None:
        """See what others have deployed: a list of each organization, now and then."""
        memory, fleet = self._memory, self._fleet
        if memory.news_at is None:
            memory.news_at = now + NEWS_EVERY  # each stack is looked at when it is first planned
        if now < memory.news_at:
            return
        memory.news_at = now + NEWS_EVERY
        for organization, stacks in fleet.stacks().items():
            known = {
                stack: Known(*ours)
                for stack, name in stacks.items()
                if (ours := fleet.known(name)) is not None
            }
            if not known:
                continue
            news = self._parts.observer.news(organization, known)
            lacking = {s for s in news.lacking if stacks[s] not in fleet.in_flight}
            found = news.newer | self._doubted(organization, lacking, now)
            names = {stacks[stack] for stack in found}
            memory.recheck |= names
            memory.dirty |= names

    def _doubted(self, organization: str, lacking: set[str], now: datetime) -> set[str]:
        """Return the stacks whose history is looked at, as the list lacks what we know of them.

        That a list leaves something out may also be its way: each is doubted once in a while.
        """
        before = self._memory.doubted.get(organization, {})
        chosen = [s for s in sorted(lacking) if before.get(s, now) <= now][:MOST_DOUBTED]
        kept = {stack: until for stack, until in before.items() if stack in lacking}
        until = now + DOUBTED_EVERY
        self._memory.doubted[organization] = kept | dict.fromkeys(chosen, until)
        return set(chosen)

    def _requests(self) -> Mapping[str, tuple[HandRequest, ...]]:
        """Return what people ask for; a trigger is for the file that they have just written."""
        found: dict[str, tuple[HandRequest, ...]] = {}
        writing = {path.rpartition(".")[0] for path in self._parts.specs.writing}
        for request in self._parts.requests.all():
            if request.kind is RequestKind.TRIGGER and request.name in writing:
                continue
            found[request.name] = (*found.get(request.name, ()), request)
        return found

    def _due(self, now: datetime, requests: Iterable[str]) -> set[str]:
        fleet, memory = self._fleet, self._memory
        # As many as may start now: to look at a stack costs calls.
        free = max(self._parts.limits.max_concurrent - len(fleet.in_flight), 0)
        due = {*fleet.agenda.due(now), *sorted(fleet.held_by_limit)[:free], *requests}
        with self._marking:
            due |= self._marks
            heard, self._heard = self._heard or now, None
            fresh = self._marks | memory.dirty
            self._marks.clear()
        for name in fresh:
            memory.noticed.setdefault(name, heard)
        found = {n for n in memory.dirty | due if fleet.plannable(n)}
        if self._only:
            found &= self._only
        memory.dirty.clear()
        return found

    def _round(self, due: set[str], requests: Mapping[str, tuple[HandRequest, ...]]) -> set[str]:
        """Plan all that are due, admit, carry out; return those to be planned again at once."""
        fleet, parts = self._fleet, self._parts
        now = parts.clock.now()
        before = {n: s.plan.state for n in due if (s := fleet.standings.get(n)) is not None}
        below = {n: names for n in due if (names := fleet.waiting_to_end(n))}
        planned = {p.plan.name: p for p in self._look(due, requests)}
        facts = self._masses.facts(now, planned, self._memory.holds)
        let_go = self._tell_masses(facts) - due
        plans = admission.admit([p.plan for p in planned.values()], facts, parts.limits)
        plans = tuple(plan for plan in plans if not self._looks_first(plan))
        again: set[str] = set()
        for some in (plans[n : n + AT_A_TIME] for n in range(0, len(plans), AT_A_TIME)):
            left = [plan for plan in some if not self._stands(plan, planned[plan.name])]
            done = parts.pool.map(lambda plan: self._carry_out(plan, planned[plan.name].job), left)
            again |= {p.name for p, came in zip(left, done, strict=True) if self._settle(p, came)}
        moved = {n for n in due if not self._stands_as(n, before.get(n))}
        dependents = {d for n in moved for d in fleet.dependents(n)}
        # A destroy comes after those of whom that depends on it.
        freed = {d for n in moved for d in below.get(n, ()) if self._waits_for_order(d)}
        return {n for n in again | dependents | freed | let_go if fleet.plannable(n)}

    def _looks_first(self, plan: Plan) -> bool:
        """Put off what begins of a file that is gone to a pass that has just looked for it.

        What holds a removal may end hours later, and the file be back for as long as a scan is old.
        """
        if self._memory.scanned or plan.name not in self._fleet.gone:
            return False
        if not any(isinstance(a, Submit) or a == _BEGINS for a in plan.actions):
            return False
        self._memory.dirty.add(plan.name)
        self.wake()
        return True

    def _waits_for_order(self, name: str) -> bool:
        standing = self._fleet.standings.get(name)
        return standing is not None and standing.plan.verdict.code is ReasonCode.DEPENDENCY

    def _stands_as(self, name: str, state: State | None) -> bool:
        standing = self._fleet.standings.get(name)
        return standing is not None and standing.plan.state is state

    def _look(
        self, names: Iterable[str], requests: Mapping[str, tuple[HandRequest, ...]]
    ) -> list[Planned]:
        memory = self._memory
        given = Given(
            requests=requests,
            holds=memory.holds,
            recheck=frozenset(memory.recheck),
            windows=self._parts.limits.windows,
            gone_in={n: self._rolls.gone_in(n) for n in self._fleet.gone},
            looks=self._rolls.looks,
        )
        with self._parts.tracer.span("look"):
            planned = self._planner.plan(names, given, self._parts.clock)
        memory.recheck -= {p.plan.name for p in planned}
        return planned

    def _tell_masses(self, facts: admission.Facts) -> set[str]:
        let_go = self._masses.tell(facts)
        return let_go & self._only if self._only else let_go

    # ------------------------------------------------------------ carrying out

    def _stands(self, plan: Plan, planned: Planned) -> bool:
        """Take down a plan of which all that is to be remembered is; False where it is not so."""
        if (
            plan is not planned.plan
            or not planned.told
            or not self._parts.statuses.keeps(plan.name)
        ):
            return False
        self._tell(plan)
        return True

    def _carry_out(self, plan: Plan, job: Job | None) -> Status | NotDurableError:
        """Carry a plan out, and return what is remembered then. May run in any thread."""
        parts = self._parts
        status = self._fleet.statuses[plan.name] if job is None else job.observed.status
        status = transitions.verdict(status, plan, parts.clock.now())
        if job is not None and plan.actions:
            about: dict[str, Attribute] = {"spec": plan.name, "reason": str(plan.verdict.code)}
            with parts.tracer.span("carry out", about):
                return self._act(plan, job, status)
        try:
            return parts.statuses.write(transitions.stamped(status, parts.clock.now()))
        except NotDurableError as error:
            return error

    def _act(self, plan: Plan, job: Job, status: Status) -> Status | NotDurableError:
        """Do what a plan says, one action after the other."""
        parts = self._parts
        try:
            for action in plan.actions:
                if isinstance(action, Submit):
                    # A pass may take minutes, and a person suspends something in the middle of it.
                    if self._stopping.is_set() or parts.holds.of(plan.name) is not None:
                        return status
                    self.started += 1
                    job = replace(job, noticed=self._memory.noticed.pop(plan.name, None))
                status = parts.executor.carry_out(action, job, status)
        except NotDurableError as error:
            return error
        return status

    def _settle(self, plan: Plan, outcome: Status | NotDurableError) -> bool:
        """Take down what came of a plan; True where the stack is to be planned again at once."""
        fleet, name = self._fleet, plan.name
        path = self._path(name)
        if plan.state not in _WAITING:
            self._memory.noticed.pop(name, None)
        if isinstance(outcome, NotDurableError):
            self._parts.meter.count(of_loop.NOT_DURABLE)
            # Nothing was started, or its intent is on disk: start from what is there.
            again_at = self._parts.clock.now() + NOT_DURABLE_AGAIN
            reason = Reason(ReasonCode.NOT_DURABLE, str(outcome))
            held = Plan(name=name, state=State.UNKNOWN, verdict=reason, look_again_at=again_at)
            if not self._rolls.read_again(name):  # then a scan asks the disk again
                self._memory.rescan_at = min(self._memory.rescan_at or again_at, again_at)
                reason = Reason(ReasonCode.NOT_DURABLE, fleet.unread[name])
                held = replace(held, verdict=reason, look_again_at=None)
            fleet.stand(name, Standing(plan=held, path=path))
            self._tell(held)
            return False
        self._tell(plan)
        if any(isinstance(a, Forget) for a in plan.actions):
            self._rolls.forgotten(name)
            self._memory.told.pop(name, None)
            return False
        fleet.put(outcome)
        fleet.stand(name, Standing(plan=plan, path=path))
        return bool(plan.actions)

    def _stand(self, plan: Plan, path: Path, now: datetime) -> None:
        """Take down how a name stands that is not planned, and write its status file."""
        fleet, name = self._fleet, plan.name
        fleet.stand(name, Standing(plan=plan, path=path))
        if name in fleet.unread:
            self._memory.rescan_at = now + NOT_DURABLE_AGAIN
            self._tell(plan)
            return
        status = transitions.verdict(fleet.statuses[name], plan, now)
        fleet.put(self._parts.statuses.write(transitions.stamped(status, now)))
        self._tell(plan)

    def _path(self, name: str) -> Path:
        spec = self._fleet.specs.get(name)
        return spec.path if spec is not None else Path(f"{name}.yaml")

    def _tell(self, plan: Plan) -> None:
        if self._memory.told.get(plan.name) != (plan.state, plan.verdict):
            self._memory.told[plan.name] = (plan.state, plan.verdict)
            self._parts.say(plan.name, plan.state, plan.verdict)
