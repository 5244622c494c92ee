"""One seeded history: the real loop for some simulated days, in a world where much goes wrong.

Calls are lost, doubled or late, the API answers 5xx and 429, lists lag, the disk fails, the
process dies at any step, the clock jumps; people edit, remove and rename files, trigger,
cancel, suspend and approve; others deploy. The same seed gives the same trace.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.api.types import DeploymentRequest, GitSource, JobStatus, Operation
from reconciler.daemon import Daemon
from reconciler.heap import Heap
from reconciler.model import (
    CauseKind,
    HandRequest,
    Hold,
    Holds,
    OnDelete,
    OnDependency,
    Overlap,
    RequestKind,
    Response,
    Schedule,
    Spec,
    State,
    WhileRunning,
    Window,
)
from reconciler.planning.gates import approval_key
from reconciler.planning.removal import GONE_AFTER
from reconciler.values import replace
from tests.factories import NOW, spec
from tests.fakes.deployments_api import Fault, Outcome, Record
from tests.fakes.world import Crash, World

__all__ = ["Simulation"]

REFRESHES = Schedule(name="refreshes", cron="15 */3 * * *", operation=Operation.REFRESH)
NIGHTLY = Schedule(name="nightly", cron="0 3 * * *", time_zone="Europe/Berlin")
PREVIEWS = Schedule(
    name="previews", cron="7 */4 * * *", operation=Operation.PREVIEW, overlap=Overlap.SKIP
)
WORKING_HOURS = Window(days=frozenset(range(5)), start=8 * 60, end=18 * 60)

# After so long without faults nothing of ours may still be under way: longer than the longest
# retry wait, window and settle time together.
QUIET_AFTER = timedelta(hours=20)
# What others deployed is heard of within this time.
HEARD_WITHIN = timedelta(minutes=3)
# Passes at one moment: more than these is a loop that never sleeps.
MOST_PASSES = 400


@dataclass
class JumpingClock:
    """The daemon's clock: the world's time, and by how much it is wrong."""

    real: datetime = NOW
    wrong_by: timedelta = timedelta(0)

    @property
    def time(self) -> datetime:
        return self.real + self.wrong_by

    def now(self) -> datetime:
        return self.time

    def running(self) -> timedelta:
        return self.real - NOW

    def wait_until(self, moment: datetime, wake: threading.Event) -> None:
        """Nobody waits here: the simulation moves the time."""
        del moment, wake


def fleet() -> dict[str, Spec]:
    """Specs that between them have every rule."""
    found = [
        spec("network", on_foreign=Response.UPDATE),
        spec(
            "web",
            depends_on=("network",),
            on_dependency=OnDependency.RUN,
            while_running=WhileRunning.CANCEL,
        ),
        spec("db", schedules=(REFRESHES, NIGHTLY), on_drift=Response.UPDATE),
        spec("cache", schedules=(PREVIEWS,)),
        spec("gated", needs_approval=True),
        spec("shop", windows=(WORKING_HOURS,), on_delete=OnDelete.DESTROY),
        *(spec(f"plain{n}") for n in range(3)),
        spec("passing", destroy_after=timedelta(days=1)),
    ]
    return {one.name: one for one in found}


@dataclass
class Simulation:
    """One history. `run` plays it and then lets the world be healthy until all is quiet."""

    seed: int
    days: float = 2.0
    faulty: bool = True
    clock_is_set: int = 1  # how many times a week or so
    doubles: float = 0.0  # of all creates, beside those that are doubled by chance
    mishaps: int = 0  # how often a status is lost, or is an old one, or the machine is off
    crashes: int = 0
    jumps: int = 0
    triggers: dict[str, HandRequest] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)
    overlaps: list[str] = field(default_factory=list)
    gone_since: dict[str, datetime] = field(default_factory=dict)
    hasty: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.clock = JumpingClock()
        self.world = World(
            specs=fleet(),
            dice=self.dice,
            clock=self.clock,  # type: ignore[arg-type]
            source_every=None,
        )
        api = self.world.api
        api.now = lambda: self.clock.real
        api.knows_markers = self.dice.random() < 0.5
        api.lag = timedelta(seconds=self.dice.choice((0, 0, 5, 45)))
        api.duration = timedelta(seconds=self.dice.choice((5, 20, 90, 300)))
        api.outcome = self._outcome
        api.faults = self._fault
        api.late_by = lambda: timedelta(seconds=self.dice.uniform(0.5, 25))
        self.world.crash_at = lambda _: self._chance(0.01)
        self.world.disk_fails = lambda: self._chance(0.005)
        unlucky = random.Random(self.seed)
        self.world.reads_fail = lambda: self.faulty and unlucky.random() < 0.05
        self.everything = dict(self.world.specs)
        self.down_until = NOW
        self.daemon: Daemon = self.world.daemon()

    def _chance(self, probability: float) -> bool:
        return self.faulty and self.dice.random() < probability

    def _outcome(self, record: Record) -> Outcome:
        if not record.shown.marker or not self._chance(0.1):
            return Outcome.SUCCEED
        return Outcome.INTERRUPT if self.dice.random() < 0.2 else Outcome.FAIL

    def _fault(self, method: str, path: str) -> Fault:
        if method == "POST" and not path.endswith("/cancel"):
            self._look_for_overlaps()
            self._look_for_haste()
        if self.faulty and self.clock.real < self.down_until:
            return Fault.SERVER_ERROR
        creates = method == "POST" and not path.endswith("/cancel")
        if creates and self.doubles and self._chance(self.doubles):
            return Fault.DOUBLED
        if self._chance(0.1):
            kinds = [Fault.LOST_BEFORE, Fault.LOST_AFTER]
            if creates:
                kinds += [Fault.LATE, Fault.DOUBLED]
            return self.dice.choice(kinds)
        if self._chance(0.05):
            return Fault.SERVER_ERROR
        return Fault.TOO_MANY if self._chance(0.02) else Fault.NONE

    def _look_for_overlaps(self) -> None:
        """Two live ones of ours on one stack are one too many, but for what the wire doubled."""
        for stack, records in self.world.api.alive():
            live = [marker for r in records if (marker := r.shown.marker)]
            if len(set(live)) > 1:
                self.overlaps.append(f"{stack}: {live}")

    def _look_for_haste(self) -> None:
        """Whose file is not gone for ten real minutes, that one is not destroyed for it."""
        for name, status in self.world.disk.items():
            intent, since = status.intent, self.gone_since.get(name, self.clock.real)
            if intent is None or intent.cause.kind is not CauseKind.REMOVAL:
                continue
            if intent.at == self.clock.time and self.clock.real < since + GONE_AFTER:
                self.hasty.append(f"{name}: gone since {since:%H:%M:%S}")

    # ------------------------------------------------------------ how time goes

    def run(self) -> World:
        """Play the history to its end, and let it come to rest."""
        Heap()  # as the loop has it
        end = NOW + timedelta(days=self.days)
        self._until(end)
        self.faulty = False
        self.done["faults"] = 0
        self.world.holds = Holds()
        self.world.api.paused.clear()
        for name in self.everything.keys() - self._present():
            self._restore(name)
        self._rest(end + QUIET_AFTER)
        # What others did last is heard of within minutes, and may need a person once more.
        for _ in range(3):
            self._free()
            self._rest(self.clock.real + QUIET_AFTER)
        # The API lives on when nobody asks it: what a wire has doubled ends too.
        self.world.api.now = lambda: self.clock.real + timedelta(hours=1)
        self.world.api.settle()
        return self.world

    def _until(self, end: datetime) -> None:
        next_event = self._next_event()
        while self.clock.real < end:
            self._pass()
            if self.clock.real >= next_event:
                self._event()
                next_event = self._next_event()
            self._sleep(min(next_event, end))

    def _rest(self, end: datetime) -> None:
        """Let time go by without faults, for some minutes at least."""
        heard_by = self.clock.real + HEARD_WITHIN
        while self.clock.real < end:
            self._pass()
            self._approve()
            self._let_through()
            quiet = self._is_quiet()
            if quiet and self.clock.real >= heard_by:
                break
            self._sleep(heard_by if quiet else end)
        self.daemon.wake()
        self._pass()

    def _is_quiet(self) -> bool:
        """Whether nothing more will happen by itself, and nobody has asked for more."""
        resting = {State.READY, State.STALLED}
        quiet = all(
            s.state in resting and s.run is None and s.intent is None
            for s in self.world.disk.values()
        )
        return quiet and not self.world.requests

    def _next_event(self) -> datetime:
        return self.clock.real + timedelta(seconds=self.dice.expovariate(1 / 2400))

    def _pass(self) -> None:
        try:
            self.daemon.tick()
        except Crash:
            self.crashes += 1
            self.daemon = self.world.daemon()
            self.clock.real += timedelta(seconds=1)

    def _sleep(self, latest: datetime) -> None:
        """Go to when the daemon wants to look again, or to what comes first."""
        due = self.daemon._fleet.agenda.earliest()
        moment = latest if due is None else min(due - self.clock.wrong_by, latest)
        if moment > self.clock.real:
            self.clock.real = moment
            self.done["passes here"] = 0
            return
        self.done["passes here"] += 1
        assert self.done["passes here"] < MOST_PASSES, "the loop never sleeps"
        self.clock.real += timedelta(seconds=0.25)

    # ------------------------------------------------------------ what happens

    def _event(self) -> None:
        weights = [
            n * (self.clock_is_set if e is JUMP else self.mishaps if e in MISHAPS else 1)
            for e, n in EVENTS.items()
        ]
        event = self.dice.choices(list(EVENTS), weights)[0]
        self.trace.append(f"{self.clock.real:%d %H:%M:%S} {event.__name__}")
        self.done[event.__name__] += 1
        event(self)
        self._approve()

    def _present(self) -> set[str]:
        return set(self.world.specs)

    def _some(self) -> str:
        return self.dice.choice(sorted(self._present()))

    def _changed(self, name: str) -> None:
        """A file that was written is another value, and an event tells of it."""
        labels = {"edit": f"{self.dice.getrandbits(24):06x}"}
        self.world.specs[name] = replace(self.world.specs[name], labels=labels)
        self.daemon.wake()

    def commit(self) -> None:
        name = self._some()
        self.world.heads[name] = f"{self.dice.getrandbits(160):040x}"
        self.daemon.mark({name})

    def edit(self) -> None:
        name = self._some()
        self.world.digests[name] = f"{self.dice.getrandbits(256):064x}"
        self._changed(name)

    def edit_back(self) -> None:
        name = self._some()
        self.world.digests.pop(name, None)
        self._changed(name)

    def edit_many(self) -> None:
        for name in self._present():
            self.world.digests[name] = f"{self.dice.getrandbits(256):064x}"
            self._changed(name)
        self._pass()
        self._let_through()

    def _let_through(self) -> None:
        """A person looks at a mass change, and lets it through."""
        self.world.let_through()

    def remove(self) -> None:
        name = self.dice.choice(["shop", "plain0"])
        if name in self.world.specs and len(self.world.specs) == len(self.everything):
            del self.world.specs[name]
            self.gone_since[name] = self.clock.real
            self.daemon.wake()
            if self.clock_is_set > 1:  # in the minutes that count
                self._pass()
                self.jumps += 1
                self.clock.wrong_by += timedelta(minutes=45)

    def restore(self) -> None:
        for name in sorted(self.everything.keys() - self._present()):
            self._restore(name)

    def _restore(self, name: str) -> None:
        self.gone_since.pop(name, None)
        self.world.specs[name] = self.everything[name]
        self.daemon.wake()

    def lose_directory(self) -> None:
        """The directory is empty for a while, as an unmounted one is."""
        kept = dict(self.world.specs)
        self.world.specs.clear()
        self.world.unreadable = self.dice.random() < 0.5
        self.daemon.wake()
        self._pass()
        self.clock.real += timedelta(minutes=self.dice.choice((1, 30)))
        self._pass()
        self.world.specs.update(kept)
        self.daemon.wake()

    def trigger(self) -> None:
        self._ask(RequestKind.TRIGGER, self.dice.choice((Operation.REFRESH, None)))

    def cancel(self) -> None:
        """A person cancels a run that they see, where one runs; the next may be there by then."""
        known = ((n, self.world.disk.get(n)) for n in sorted(self._present()))
        seen = [(n, s.run.id) for n, s in known if s is not None and s.run is not None]
        name, run_id = self.dice.choice(seen or [("", "")])
        self._ask(RequestKind.CANCEL, None, name, run_id)

    def _ask(
        self, kind: RequestKind, operation: Operation | None, name: str = "", binds: str = ""
    ) -> None:
        number = len(self.triggers) + self.done["asked"]
        self.done["asked"] += 1
        request = HandRequest(
            id=f"q{number}",
            kind=kind,
            name=name or self._some(),
            by="ada",
            at=self.clock.time,
            operation=operation,
            binds=binds,
        )
        self.world.requests[request.id] = request
        if kind is RequestKind.TRIGGER:
            self.triggers[request.id] = request

    def suspend(self) -> None:
        hold = Hold(by="ada", at=self.clock.time)
        self.world.holds = replace(self.world.holds, names={self._some(): hold})

    def resume(self) -> None:
        self.world.holds = replace(self.world.holds, names={})

    def others_deploy(self) -> None:
        name = self._some()
        of = self.world.specs[name]
        operation = self.dice.choice((Operation.UPDATE, Operation.PREVIEW))
        source: GitSource[object] = GitSource(repo_url="https://example.com/r", branch="main")
        request = DeploymentRequest(operation=operation, source=source)
        faults, self.world.api.faults = self.world.api.faults, lambda _, __: Fault.NONE
        made = self.world.client.create(of.stack, request)  # type: ignore[arg-type]
        self.world.api.faults = faults
        self.foreign.add(made.id)

    def api_down(self) -> None:
        self.down_until = self.clock.real + timedelta(minutes=self.dice.choice((2, 20, 200)))

    def pause(self) -> None:
        self.world.api.paused.add(self.world.specs[self._some()].stack)

    def unpause(self) -> None:
        self.world.api.paused.clear()

    def jump(self) -> None:
        """The clock jumps, about once a week; a wrong one is set right in the end."""
        if self.dice.random() < 0.25:
            self.jumps += 1
            minutes = self.dice.choice((-180, -60, -5, 45, 120))
            self.clock.wrong_by += timedelta(minutes=minutes)

    def restart(self) -> None:
        self.daemon = self.world.daemon()

    def lose_status(self) -> None:
        """Both copies of a status are gone, as with a disk."""
        self.world.disk.pop(self._some(), None)
        self.done["lost"] += 1
        self.restart()

    def restore_status(self) -> None:
        """A status is what it was some writes ago, as out of a backup."""
        name = self._some()
        known = [status for status in self.world.journal if status.name == name]
        if known:
            self.world.disk[name] = self.dice.choice(known[-30:])
            self.done["lost"] += 1
            self.restart()

    def sleep(self) -> None:
        """The machine is off for a while."""
        self.clock.real += timedelta(minutes=self.dice.choice((5, 60, 600)))
        self.restart()

    def _approve(self) -> None:
        for name, status in self.world.disk.items():
            approval = status.approval
            if approval is None or approval.granted or self.dice.random() < 0.3:
                continue
            request = HandRequest(
                id=f"approve-{name}-{approval.version}-{approval.digest[:6]}",
                kind=RequestKind.APPROVE,
                name=name,
                by="ada",
                at=self.clock.time,
                binds=approval_key(approval),
            )
            if request.id not in status.handled:
                self.world.requests[request.id] = request

    def _free(self) -> None:
        """A person looks at what needs one: stalled stacks are triggered."""
        for name in sorted(self._present()):
            state = self.world.disk[name].state
            if state in {State.STALLED, State.FAILED} or not self._wanted_is_there(name):
                self._ask(RequestKind.TRIGGER, None, name)

    def _wanted_is_there(self, name: str) -> bool:
        status = self.world.disk[name]
        records = self.world.api.records.get(self.world.specs[name].stack, [])
        return status.state is not State.READY or any(
            r.shown.status is JobStatus.SUCCEEDED for r in records
        )


JUMP = Simulation.jump
MISHAPS = frozenset({Simulation.lose_status, Simulation.restore_status, Simulation.sleep})
EVENTS: dict[Callable[[Simulation], None], int] = {
    Simulation.commit: 14,
    Simulation.edit: 14,
    Simulation.edit_back: 4,
    Simulation.edit_many: 1,
    Simulation.remove: 3,
    Simulation.restore: 4,
    Simulation.lose_directory: 1,
    Simulation.trigger: 6,
    Simulation.cancel: 4,
    Simulation.suspend: 1,
    Simulation.resume: 3,
    Simulation.others_deploy: 3,
    Simulation.api_down: 2,
    Simulation.pause: 1,
    Simulation.unpause: 4,
    JUMP: 1,
    Simulation.restart: 4,
    Simulation.lose_status: 1,
    Simulation.restore_status: 1,
    Simulation.sleep: 1,
}
