"""What the console shows of a directory of specs: what the loop knows, for `run --console`.

Everything is read from the loop's own memory, from the files of people's holds, and from the
API; what people ask for goes into the files that the commands use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.adapters.holds import HoldsFiles
from reconciler.adapters.spec_walk import ENDINGS
from reconciler.adapters.specs import read_file
from reconciler.api.types import Deployment, StackRef
from reconciler.cli import console_orders
from reconciler.cli.approval_changes import ApprovalChanges
from reconciler.cli.commands_here import in_place, in_sentence
from reconciler.cli.console_items import item_of, missing, with_next
from reconciler.cli.console_orders import waiting_approval
from reconciler.cli.wiring import Place
from reconciler.clock import Clock
from reconciler.console.keeping import Fetched, Kept
from reconciler.console.runs import past_of, usual_time
from reconciler.console.values import (
    Act,
    Change,
    Coming,
    Fault,
    Held,
    Item,
    Lane,
    LogPart,
    Order,
    Past,
    PlanRow,
    Plans,
    Shown,
    Story,
    Tone,
    Viewer,
)
from reconciler.daemon import Daemon, Standing
from reconciler.engine.service import AnswerError
from reconciler.mistakes import HELP
from reconciler.model import (
    Problem,
    ReasonCode,
    RequestKind,
    Run,
    RunEnd,
    Spec,
    State,
    Status,
)
from reconciler.planning import windows
from reconciler.planning.agenda import Entry, Fate, Subject, agenda
from reconciler.planning.explain import Case, Neighbour, because, explain
from reconciler.planning.telling import does
from reconciler.ports import ApiSource
from reconciler.values import replace

__all__ = ["SpecsSource", "read_changes"]

# What the loop knows is in memory; this only spares many pages the same work.
KEEP: Final = timedelta(milliseconds=500)
# The API is another process, or far away.
KEEP_RUNS: Final = timedelta(seconds=3)
WAIT_FOR_RUNS: Final = timedelta(seconds=1)

# To look at all costs some milliseconds where little has changed; of 10,000 at a start, a second.
READY_EVERY_S: Final = 2.0

# What fits a picture.
RUNS_SHOWN: Final = 100
SLOTS_SHOWN: Final = 1000

# More than anybody mends before they look again.
FAULTS_SHOWN: Final = 50

# How often a log is asked for what is new.
LOOK_EVERY_S: Final = 0.5

_ENDS: Final = {RunEnd.SUCCEEDED: Tone.GOOD, RunEnd.SKIPPED: Tone.RESTS}
_FATES: Final = {
    Fate.SUSPENDED: "does not run: suspended",
    Fate.NEVER: "does not run: its windows never open",
    Fate.DESTROYED: "does not run: the stack is destroyed by then",
    Fate.PASSED_OVER: "passed over: a newer one is due first",
}


@dataclass(frozen=True, slots=True)
class _Made:
    """An item, and what it was made of. The loop sets a name's standing anew after its status."""

    standing: Standing | None
    spec: Spec | None
    item: Item


class SpecsSource:
    """The specs of one directory, as the loop that reconciles them knows them."""

    things = "specs"
    plans_ahead = True

    def __init__(self, where: Place, daemon: Daemon, api: ApiSource, clock: Clock) -> None:
        self._where = where
        self._daemon = daemon
        self._api = api
        self._clock = clock
        # The loop's own has a memory of one thread.
        self._holds = HoldsFiles(where.state.folder)
        self._items: Kept[tuple[Item, ...]] = Kept(clock, KEEP)
        # Of whoever holds the lock of the above.
        self._made: Mapping[str, _Made] = {}
        self._runs: Fetched[tuple[Deployment, ...]] = Fetched(clock, KEEP_RUNS, WAIT_FOR_RUNS, ())
        self._approvals = ApprovalChanges(api, clock)

    # ------------------------------------------------------------ how everything stands

    def items(self, viewer: Viewer) -> Sequence[Item]:
        """Return how each spec stands, what needs a person first."""
        del viewer
        return self._items.get("", self._make_items)

    def _make_items(self) -> tuple[Item, ...]:
        """Put together what has changed since the last time: of most, nothing has."""
        standings, specs = self._daemon.standings(), self._daemon.specs()
        order = {tone: number for number, tone in enumerate(Tone)}
        before, made, host = self._made, {}, self._where.config.limits.windows
        for name in {*standings, *specs}:
            standing, spec = standings.get(name), specs.get(name)
            known = before.get(name)
            if known is None or known.standing is not standing or known.spec is not spec:
                plan = standing.plan if standing is not None else None
                status = self._daemon.about(name).status
                item = with_next(item_of(name, spec, status, plan), spec, status, host)
                known = _Made(standing, spec, item)
            made[name] = known
        self._made = made
        found = (known.item for known in made.values())
        return tuple(sorted(found, key=lambda item: (order[item.tone], item.name)))

    def keep_ready(self) -> Callable[[], None]:
        """Put together beside the loop what changes, so that nobody waits; return what ends it."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(READY_EVERY_S):
                self._items.get("", self._make_items)

        threading.Thread(target=look, name="console items", daemon=True).start()
        return ended.set

    def edges(self, viewer: Viewer) -> Mapping[str, tuple[str, ...]]:
        """Return what specs depend on."""
        del viewer
        specs = self._daemon.specs().values()
        return {spec.name: spec.depends_on for spec in specs if spec.depends_on}

    def plans(self, viewer: Viewer) -> Plans:
        """Return what the last pass has found to do, and what it holds back."""
        items = self.items(viewer)
        standings = self._daemon.standings()
        asking = [item.name for item in items if item.code == ReasonCode.APPROVAL]
        told = self._approvals.of(self._daemon.about(name).status for name in asking)
        rows = []
        for item in items:
            standing = standings.get(item.name)
            rests = item.tone is Tone.RESTS and standing is not None and not standing.plan.changes
            if standing is None or item.tone is Tone.GOOD or rests:
                continue
            plan = standing.plan
            words = tuple(does(action) for action in plan.actions)
            changes = plan.changes or told.get(item.name, ())
            rows.append(PlanRow(item=item, does=words, changes=tuple(read_changes(changes))))
        held = tuple(
            Held(id=mass.id, message=mass.message, names=tuple(sorted(mass.names)))
            for mass in self._daemon.masses()
        )
        suspended = [item for item in items if item.tone is Tone.RESTS]
        return Plans(
            rows=tuple(rows),
            held=held,
            settled=sum(1 for item in items if item.tone is Tone.GOOD),
            suspended=len(suspended),
            differing=sum(1 for row in rows if row.item.tone is Tone.RESTS),
            new=sum(1 for item in suspended if not item.version),
        )

    # ------------------------------------------------------------ one of them

    def story(self, viewer: Viewer, name: str, now: datetime) -> Story:
        """Return all that is known of one spec: what `reconciler why` says, and more."""
        items = {item.name: item for item in self.items(viewer)}
        if name not in items:
            raise AnswerError(404, f"there is no spec {name[:200]!r}")
        case = self._case(name, now, items)
        told, status, spec = in_place(explain(case), self._where), case.status, case.spec
        about = _known(case)
        approval = waiting_approval(status, now)
        edges = self.edges(viewer)
        item = replace(items[name], reason=in_sentence(items[name].reason, self._where))
        faults = self._faults(name) if case.problem else ()
        return Story(
            item=item,
            since=told.since if told.state == item.state else None,
            path=str(spec.path) if spec is not None else "",
            faults=faults[:FAULTS_SHOWN],
            more_faults=len(faults[FAULTS_SHOWN:]),
            now=told.now,
            changes=tuple(read_changes(self._differing(case, items[name]))),
            done=told.done,
            log=told.log,
            following=told.following,
            advice=tuple((each.command, each.does) for each in told.advice),
            history=tuple((h.at, h.text, h.version) for h in reversed(status.history)),
            needs=tuple(items.get(n) or missing(n) for n in edges.get(name, ())),
            needed_by=tuple(items[n] for n, on in edges.items() if name in on and n in items),
            lane=self._lane(item, (now - timedelta(days=3), now + timedelta(days=7)), now),
            acts=self._acts(about, now),
            operations=("", "update", "preview", "refresh", "destroy"),
            meant=_meant(spec),
            runs="Run now, outside its windows" if item.code == ReasonCode.WINDOW else "Run now",
            binds=console_orders.binding(approval),
            approves=console_orders.told(approval),
            run_id=status.run.id if status.run is not None else "",
        )

    def _faults(self, name: str) -> tuple[Fault, ...]:
        """Return all mistakes in a file, as `reconciler validate` tells them."""
        directory = self._where.directory
        paths = [directory / f"{name}{ending}" for ending in ENDINGS]
        path = next((path for path in paths if os.path.lexists(path)), None)
        found = read_file(path, directory, self._where.rules) if path is not None else ()
        return tuple(map(_fault, found)) if isinstance(found, tuple) else ()

    def _differing(self, case: Case, item: Item) -> Sequence[str]:
        """Return what differs: what the plan says, or of what is to be approved the API."""
        if case.plan is None or case.plan.changes or item.code != ReasonCode.APPROVAL:
            return case.plan.changes if case.plan is not None else ()
        return self._approvals.of([case.status]).get(case.status.name, ())

    def _acts(self, about: console_orders.Known, now: datetime) -> tuple[Act, ...]:
        """Return what makes sense now: not again what was just asked for, and is not seen yet."""
        found = console_orders.acts(about, now)
        if Act.APPROVE not in found:
            return found
        asked = self._where.requests.all()
        approved = {r.binds for r in asked if r.kind is RequestKind.APPROVE}
        done = console_orders.binding(waiting_approval(about.status, now)) in approved
        return tuple(act for act in found if act is not Act.APPROVE) if done else found

    def _case(self, name: str, now: datetime, items: Mapping[str, Item]) -> Case:
        about = self._daemon.about(name)
        spec, aside, standing = about.spec, about.aside, about.standing
        upstream = () if spec is None else tuple(_neighbour(n, items) for n in spec.depends_on)
        masses = {mass.id: len(mass.names) for mass in self._daemon.masses() if name in mass.names}
        return Case(
            status=about.status,
            now=now,
            spec=spec,
            problem="" if aside is None else aside.reason.message,
            plan=standing.plan if standing is not None and aside is None else None,
            hold=self._holds.read().of(name),
            upstream=upstream,
            masses=masses,
            windows=self._where.config.limits.windows,
            reconciler=self._where.state.reconciled_by(),
        )

    # ------------------------------------------------------------ the timeline

    def lanes(
        self, viewer: Viewer, names: Sequence[str], span: tuple[datetime, datetime]
    ) -> Sequence[Lane]:
        """Return what of these specs ran, runs and is due."""
        known = {item.name: item for item in self.items(viewer)}
        now = self._clock.now()
        return [self._lane(known[name], span, now) for name in names if name in known]

    def _lane(self, item: Item, span: tuple[datetime, datetime], now: datetime) -> Lane:
        about = self._daemon.about(item.name)
        spec, status = about.spec, about.status
        coming: list[Coming] = []
        closed: list[tuple[datetime, datetime]] = []
        host = self._where.config.limits.windows
        if spec is not None and item.state not in {State.INVALID, State.CONFLICT}:
            held = self._holds.read().of(spec.name) is not None
            subject = Subject(spec=spec, status=status, held=held)
            begin = max(span[0], now)
            if begin < span[1] and (spec.schedules or spec.destroy_after is not None):
                found = agenda([subject], host, (begin, span[1]), SLOTS_SHOWN)
                coming = list(map(_coming, found.entries))
            if spec.windows or host:
                closed = list(windows.closed_between((spec.windows, host), *span))
        return Lane(
            name=item.name,
            state=item.state,
            tone=item.tone,
            past=self._past(item, status),
            coming=tuple(coming),
            closed=tuple(closed),
        )

    def _past(self, item: Item, status: Status) -> tuple[Past, ...]:
        """Return its runs: what the API lists, and what is remembered where it does not."""
        found = {
            run.version: _past(run)
            for run in (status.last, status.latest, status.run)
            if run is not None and run.version
        }
        for deployment in self._listed(item.stack):
            if str(deployment.stack) == item.stack:
                found[deployment.version] = past_of(deployment)
        return tuple(found.values())

    def _listed(self, stack: str) -> Sequence[Deployment]:
        """Return the newest deployments of a stack's organization, as far as the API answers."""
        organization = stack.partition("/")[0]

        def fetch() -> tuple[Deployment, ...]:
            return self._api().list_organization(organization, 1, RUNS_SHOWN)

        return self._runs.get(organization, fetch) if organization else ()

    # ------------------------------------------------------------ deployments

    def deployment(self, viewer: Viewer, name: str, version: int) -> Shown:
        """Return a deployment of a spec's stack, as the API tells of it."""
        item = next((i for i in self.items(viewer) if i.name == name), None)
        if item is None or not item.stack:
            raise AnswerError(404, f"there is no spec {name[:200]!r}")
        found = self._api().by_version(StackRef.parse(item.stack), version)
        if found is None:
            raise AnswerError(404, f"the API knows no version {version} of {item.stack}")
        status = self._daemon.about(name).status
        runs = [r for r in (status.run, status.latest, status.last) if r and r.version == version]
        facts = {}
        if runs and runs[0].commit:
            facts["Commit"] = runs[0].commit[:12]
        elif found.source is not None:
            facts["At"] = found.source.commit[:12] or found.source.tag or found.source.branch_name
        facts["Stack"] = item.stack
        cause = because(runs[0].cause) if runs and runs[0].run_id else ""
        went_wrong = runs and runs[0].end not in {None, RunEnd.SUCCEEDED}
        reason = runs[0].message if went_wrong else ""
        usually = usual_time(self._past(item, status), str(found.operation or ""))
        return Shown(
            item=item, deployment=found, cause=cause, reason=reason, facts=facts, usual=usually
        )

    def log(self, viewer: Viewer, shown: Shown, token: str) -> LogPart:
        """Return the next part of a log."""
        del viewer
        stack = StackRef.parse(shown.item.stack)
        page = self._api().logs(stack, shown.deployment.id, token)
        return LogPart(lines=page.lines, token=page.next_token)

    def hear(self, shown: Shown, tell: Callable[[], None]) -> Callable[[], None]:
        """Have `tell` called now and then: an API tells nobody when a log has more."""
        if shown.deployment.status.ended:
            return lambda: None
        ended = threading.Event()

        def remind() -> None:
            while not ended.wait(LOOK_EVERY_S):
                tell()

        threading.Thread(target=remind, name="console log", daemon=True).start()
        return ended.set

    # ------------------------------------------------------------ what people ask for

    def act(self, viewer: Viewer, order: Order) -> str:
        """Put what is asked for where the loop looks, and wake it."""
        name, now = order.name, self._clock.now()
        desk = console_orders.Desk(self._where, self._holds, now, by=_person(viewer))
        if not name:
            said = desk.for_all(order)
        else:
            items = {item.name: item for item in self.items(viewer)}
            if name not in items:
                raise AnswerError(404, f"there is no spec {name[:200]!r}")
            said = desk.for_one(order, _known(self._case(name, now, items)))
        self._items.forget()
        self._daemon.mark({name} if name else ())
        return in_sentence(said, self._where)


def _person(viewer: Viewer) -> str:
    """Say who asks: the console's own token has no person's name."""
    return "console" if viewer.name == "console" else f"{viewer.name} (console)"


def _meant(spec: Spec | None) -> str:
    """Say what is run where no operation is named."""
    if spec is None:
        return "as its file says"
    return f"{spec.run_for(spec.request.operation)}, as its file says"


def _known(case: Case) -> console_orders.Known:
    return console_orders.Known(
        status=case.status,
        spec=case.spec,
        problem=case.problem,
        hold=case.hold,
        held=case.masses,
    )


def _fault(problem: Problem) -> Fault:
    place = f"{problem.path}:{max(problem.line, 1)}:{max(problem.column, 1)}"
    at = f"{problem.pointer}: " if problem.pointer else ""
    return Fault(place=place, text=f"{at}{problem.message}", mend=HELP[problem.kind].mend)


def _neighbour(name: str, items: Mapping[str, Item]) -> Neighbour:
    item = items.get(name)
    if item is None:
        return Neighbour(name=name, missing=True)
    return Neighbour(name=name, state=State(item.state), message=item.reason)


def _past(run: Run) -> Past:
    begun = run.started or run.submitted
    ended = (run.finished or run.seen_ended or begun) if run.end is not None else None
    tone = Tone.of_run(run.status) if run.end is None else _ENDS.get(run.end, Tone.BAD)
    return Past(
        version=run.version,
        operation=str(run.operation),
        status=str(run.end or run.status),
        tone=tone,
        begun=begun,
        ended=ended,
    )


def _coming(entry: Entry) -> Coming:
    note = _FATES.get(entry.fate, "")
    if entry.fate is Fate.WAITS and entry.starts is not None:
        note = f"waits for its window: {entry.starts:%a %d %b %H:%M} UTC"
    return Coming(
        at=entry.due,
        operation=str(entry.operation),
        schedule=entry.schedule or "destroyAfter",
        runs=entry.fate in {Fate.RUNS, Fate.WAITS},
        note=note,
    )


def read_changes(found: Sequence[str]) -> Iterator[Change]:
    """Read the sentences of a plan as a table; what is no such sentence stands as it is."""
    for sentence in found:
        field, colon, rest = sentence.partition(": ")
        old, arrow, new = rest.partition(" → ")
        if colon and arrow:
            yield Change(field=field, old=old, new=new)
        elif colon and rest == "changed (secret)":
            yield Change(field=field, old="(secret)", new="(another secret)")
        elif colon and rest.startswith("added "):
            yield Change(field=field, new=rest.removeprefix("added "))
        elif colon and rest.startswith("removed "):
            yield Change(field=field, old=rest.removeprefix("removed "))
        else:
            yield Change(field=field if colon else "", note=rest if colon else sentence)
