"""All names the loop knows of, with what is remembered of each and how it stands. In memory.

Everything here can be found again from files. It is kept so that a pass costs what the names
that are dirty or due cost, and not what all of them would.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from reconciler.model import (
    Catalog,
    CauseKind,
    Plan,
    Reason,
    ReasonCode,
    Spec,
    State,
    Status,
)
from reconciler.planning import admission, remembered
from reconciler.planning.graph import order
from reconciler.planning.quiet import being_written
from reconciler.shelf import Shelf

__all__ = ["Agenda", "Aside", "Fleet", "Standing"]


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

    def gone_by(self, moment: datetime) -> bool:
        """Whether by then its file, which is missing, counts as removed, or its stack ends."""
        plan, counts = self.plan, self.plan.look_again_at
        looks = plan.verdict.code in {ReasonCode.REMOVED, ReasonCode.EXPIRED}
        waits = plan.state is State.WAITING and looks
        return waits and counts is not None and counts <= moment

    @property
    def held_by_limit(self) -> bool:
        """Whether it only waits for others to end."""
        return self.plan.verdict.code is ReasonCode.LIMIT


@dataclass(frozen=True, slots=True)
class Aside:
    """Why a name cannot be planned: a broken file, a circle, a stack that is another's."""

    state: State
    reason: Reason
    path: Path


@dataclass(slots=True)
class Agenda:
    """When each name is to be looked at again; the earliest is found without asking all."""

    _moments: dict[str, datetime] = field(default_factory=dict)
    _heap: list[tuple[datetime, str]] = field(default_factory=list)

    def put(self, name: str, moment: datetime | None) -> None:
        """Look at a name at a moment, and at no other; None: only after an event."""
        if moment is None:
            self._moments.pop(name, None)
            return
        if self._moments.get(name) != moment:
            self._moments[name] = moment
            heapq.heappush(self._heap, (moment, name))
            # What was put off leaves its old entry behind; too many of them are swept.
            if len(self._heap) > 2 * len(self._moments) + 64:
                self._heap = [(m, n) for n, m in self._moments.items()]
                heapq.heapify(self._heap)

    def earliest(self) -> datetime | None:
        """Return when the next name is due; None where none is."""
        while self._heap and self._moments.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: datetime) -> set[str]:
        """Return the names that are due; they stay so until they are put again."""
        found: set[str] = set()
        kept: list[tuple[datetime, str]] = []
        while (moment := self.earliest()) is not None and moment <= now:
            kept.append(heapq.heappop(self._heap))
            found.add(kept[-1][1])
        for entry in kept:
            heapq.heappush(self._heap, entry)
        return found


class Fleet:
    """The table of names. One thread changes it; `put` keeps its indices right."""

    def __init__(self) -> None:
        self.catalog: Catalog | None = None
        self.specs: dict[str, Spec] = {}
        self.aside: dict[str, Aside] = {}
        self.gone: dict[str, str] = {}
        # Whose stack another claims already, and who: nothing is decided of those that are gone.
        self.contested: dict[str, str] = {}
        # Whose status file cannot be read now, and why: nothing of them is planned.
        self.unread: dict[str, str] = {}
        self.statuses = Shelf()
        self.standings: dict[str, Standing] = {}
        self.agenda = Agenda()
        self.in_flight: set[str] = set()
        # The stacks (as text) that a create without an answer may still come through to; whose.
        self.settling: dict[str, str] = {}
        self.drifted: set[str] = set()
        self.held_by_limit: set[str] = set()
        self.changed: dict[str, str] = {}
        self.recent: dict[str, tuple[str, datetime]] = {}
        self._rank: dict[str, int] = {}
        self._edges: dict[str, tuple[str, ...]] = {}
        self._dependents: dict[str, set[str]] = {}
        self._cycles: Mapping[str, tuple[str, ...]] = {}
        self._claims: dict[str, tuple[str, ...]] = {}
        self._known: dict[str, tuple[int, datetime | None]] = {}

    # ------------------------------------------------------------ what the files say

    def take(self, catalog: Catalog) -> set[str]:
        """Take what the directory says now; return the names whose spec is new or other."""
        fresh = {spec.name: spec for spec in catalog.specs}
        differing = {n for n, s in fresh.items() if self.specs.get(n) is not s}
        differing = {n for n in differing if self.specs.get(n) != fresh[n]}
        left = self.specs.keys() - fresh.keys()
        for name in left:
            self._unclaim(name)
        for name in differing:
            self._unclaim(name)
            self._claim(fresh[name])
        self._set_edges(fresh, differing, left)
        self.catalog = catalog
        self.specs = fresh
        self._find_aside(catalog)
        return differing | left

    def takes_alone(self, specs: Iterable[Spec]) -> bool:
        """Whether these specs can be taken without looking at all others.

        Not so where they claim another stack, stand elsewhere in the order, or where a name is
        set aside or gone: what that means for others, the whole directory tells.
        """
        claimed: set[str] = set()
        for spec in specs:
            name, stack, old = spec.name, str(spec.stack), self.specs.get(spec.name)
            if name in self.aside or stack in claimed:
                return False
            claimed.add(stack)
            if old is not None:
                if old.stack != spec.stack or old.depends_on != spec.depends_on:
                    return False
                continue
            unsettled = self.gone or self.aside or self.unread or stack in self._claims
            if unsettled or spec.depends_on or self._dependents.get(name):
                return False
        return True

    def take_some(self, specs: Iterable[Spec]) -> set[str]:
        """Take these specs, which `takes_alone` allows; return the names that are new or other."""
        differing: set[str] = set()
        for spec in specs:
            if self.specs.get(spec.name) != spec:
                differing.add(spec.name)
                self._claim(spec)
            self.specs[spec.name] = spec
        return differing

    def _claim(self, spec: Spec) -> None:
        stack = str(spec.stack)
        others = (name for name in self._claims.get(stack, ()) if name != spec.name)
        self._claims[stack] = (*others, spec.name)

    def _unclaim(self, name: str) -> None:
        spec = self.specs.get(name)
        if spec is None:
            return
        stack = str(spec.stack)
        others = tuple(other for other in self._claims.get(stack, ()) if other != name)
        if others:
            self._claims[stack] = others
        else:
            self._claims.pop(stack, None)

    def _set_edges(self, fresh: Mapping[str, Spec], differing: set[str], left: set[str]) -> None:
        """Keep who depends on whom; the order is found anew only where that has changed."""
        moved = False
        for name in differing | left:
            edges = fresh[name].depends_on if name in fresh else ()
            old = self._edges.get(name, ())
            came_or_went = (name in fresh) is not (name in self.specs)
            moved = moved or edges != old or (came_or_went and bool(self._dependents.get(name)))
            for other in old:
                self._dependents.get(other, set()).discard(name)
            for other in edges:
                self._dependents.setdefault(other, set()).add(name)
            if edges:
                self._edges[name] = edges
            else:
                self._edges.pop(name, None)
        if moved:
            # Whom nothing connects to others has no place in the order: any will do.
            connected = {n for n in fresh if n in self._edges or self._dependents.get(n)}
            found = order({name: self._edges.get(name, ()) for name in sorted(connected)})
            self._rank = {name: rank for rank, name in enumerate(found.names)}
            self._cycles = found.cycles

    def _find_aside(self, catalog: Catalog) -> None:
        aside: dict[str, Aside] = {}
        unread = self._unread()
        # Whether one of those is in force, its status would tell.
        unsure = {str(self.specs[n].stack): self.specs[n].path for n in unread if n in self.specs}
        for name, (problem, stack) in catalog.broken.items():
            reason = Reason(ReasonCode.INVALID, str(problem))
            aside[name] = Aside(State.INVALID, reason, problem.path)
            if stack is not None:
                unsure[str(stack)] = problem.path
        for name, one in catalog.writing.items():
            if one.since is not None:  # else it is read in a moment
                reason = Reason(ReasonCode.BEING_WRITTEN, being_written(one.since, one.until))
                aside[name] = Aside(State.WAITING, reason, one.path)
        for name, circle in self._cycles.items():
            if name in self.specs:
                message = f"dependsOn goes in a circle: {' → '.join(circle)}"
                reason = Reason(ReasonCode.INVALID, message)
                aside.setdefault(name, Aside(State.INVALID, reason, self.specs[name].path))
        shared = [n for names in self._claims.values() if len(names) > 1 for n in sorted(names)]
        conflicts = admission.conflicts((self.specs[n] for n in shared), self.statuses)
        for name, reason in conflicts.items():
            aside.setdefault(name, Aside(State.CONFLICT, reason, self.specs[name].path))
        for claimed, path in unsure.items():
            for name in sorted(self._claims.get(claimed, ())):
                message = f"the stack {claimed} is also claimed by {path}, which cannot be planned"
                reason = Reason(ReasonCode.CONFLICT, message)
                aside.setdefault(name, Aside(State.CONFLICT, reason, self.specs[name].path))
        self.aside = self._untold() | aside | unread

    def _untold(self) -> dict[str, Aside]:
        """Return the specs that are new on their stack, where a status that is unread may be of it.

        It may be the file's by another name, be held, or tell of a create that is on its way.
        """
        if not self.unread:
            return {}
        other, told = min(self.unread.items())
        message = f"what is remembered of {other} may be of this stack: {told}"
        reason = Reason(ReasonCode.NOT_DURABLE, message)
        return {
            name: Aside(State.UNKNOWN, reason, spec.path)
            for name, spec in self.specs.items()
            if name not in self.unread and self.statuses[name].stack != str(spec.stack)
        }

    def _unread(self) -> dict[str, Aside]:
        found: dict[str, Aside] = {}
        for name, told in self.unread.items():
            path = self.specs[name].path if name in self.specs else Path(f"{name}.yaml")
            found[name] = Aside(State.UNKNOWN, Reason(ReasonCode.NOT_DURABLE, told), path)
        return found

    def claimant(self, stack: str, name: str) -> str:
        """Return another name whose file, valid or not, claims a stack; empty where none does."""
        others = [other for other in self._claims.get(stack, ()) if other != name]
        if others:
            return min(others)
        broken = self.catalog.broken if self.catalog is not None else {}
        return next(
            (n for n, b in broken.items() if n != name and b.stack and str(b.stack) == stack), ""
        )

    # ------------------------------------------------------------ what is remembered

    def put(self, status: Status) -> None:
        """Remember a status."""
        name = status.name
        self.statuses[name] = status
        if status.attempt is not None:
            began = status.latest.started if status.latest is not None else None
            self._known[name] = (status.last_version, began)
        else:
            self._known.pop(name, None)
        if status.run is not None or status.intent is not None:
            self.in_flight.add(name)
        else:
            self.in_flight.discard(name)
        if status.intent is not None:
            self.settling[status.stack] = name
        else:
            self._settled(status)
        if status.drift is not None:
            self.drifted.add(name)
        else:
            self.drifted.discard(name)
        run = status.run or status.last
        if run is not None and run.cause.kind is CauseKind.CHANGE:
            self.recent[name] = (run.digest, run.submitted)

    def _settled(self, status: Status) -> None:
        if self.settling.get(status.stack) == status.name:
            del self.settling[status.stack]

    def stand(self, name: str, standing: Standing) -> None:
        """Take down how a name stands, and when it is looked at again."""
        self.standings[name] = standing
        self.agenda.put(name, standing.plan.look_again_at)
        if standing.held_by_limit:
            self.held_by_limit.add(name)
        else:
            self.held_by_limit.discard(name)

    def drop(self, name: str) -> None:
        """Forget a name altogether."""
        if name in self.statuses:
            self._settled(self.statuses[name])
            del self.statuses[name]
        of_names = (self.standings, self.gone, self.changed, self.recent, self._known, self.unread)
        for table in (*of_names, self.contested):
            table.pop(name, None)
        self.agenda.put(name, None)
        self.in_flight.discard(name)
        self.drifted.discard(name)
        self.held_by_limit.discard(name)

    def changed_recently(self, now: datetime, within: timedelta) -> dict[str, str]:
        """Return the names whose change was asked for within a time, with what they changed to."""
        for name in [n for n, (_, at) in self.recent.items() if not now - at < within]:
            del self.recent[name]
        return {name: digest for name, (digest, _) in self.recent.items()}

    # ------------------------------------------------------------ who depends on whom

    def plannable(self, name: str) -> bool:
        """Whether a name can be planned: it has a valid file, or one that is gone."""
        if name in self.unread:
            return False
        return (name in self.specs and name not in self.aside) or name in self.gone

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Sort names so that what one depends on comes before it."""
        return sorted(names, key=lambda name: (self._rank.get(name, -1), name))

    def dependents(self, name: str) -> Iterator[str]:
        """Yield the names of the specs that depend on one, sorted."""
        yield from sorted(self._dependents.get(name, ()))

    def waiting_to_end(self, name: str) -> tuple[str, ...]:
        """Return what a name depends on that may wait for its end, to be destroyed after it."""
        spec = self.specs.get(name)
        if spec is None:
            return remembered.dependencies(self.statuses[name]) if name in self.gone else ()
        return spec.depends_on

    def stacks(self) -> Mapping[str, Mapping[str, str]]:
        """Return by organization the stacks that specs claim, each with its spec's name."""
        found: dict[str, dict[str, str]] = {}
        for stack, names in self._claims.items():
            organization = stack.partition("/")[0]
            found.setdefault(organization, {})[stack] = min(names)
        return found

    def known(self, name: str) -> tuple[int, datetime | None] | None:
        """Return a stack's highest known version, and when our last run that ended began there.

        None where we never asked for one. All names are asked for, so no status is looked at.
        """
        return self._known.get(name)

    def place(self, name: str) -> admission.Place:
        """Return by what a name counts against limits: its labels are forgotten with its file."""
        spec = self.specs.get(name)
        if spec is not None:
            return admission.Place(spec.stack.organization, spec.labels)
        return admission.Place(self.statuses[name].stack.partition("/")[0])
