"""Who is there: files that are new, changed, renamed or gone, held against what is remembered.

A renamed file takes its status along, and what people said of it by hand. A missing one is kept in
view until it is known to be removed, and what may be done then is the planner's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from reconciler.clock import Clock, Lasting
from reconciler.errors import NotDurableError, UnreadableError
from reconciler.fleet import Aside, Fleet
from reconciler.model import Catalog, MarkRemoved, Reason, ReasonCode, Spec, State, Status
from reconciler.planning import transitions
from reconciler.planning.admission import MASS_REMOVAL_WITHIN
from reconciler.planning.removal import GONE_AFTER, counts
from reconciler.ports import ByHand, Directory, Statuses
from reconciler.values import replace

__all__ = ["Rolls"]

# A file whose time is up, and that was not looked at since, is looked at first.
_FIRST_LOOK = timedelta(seconds=1)


class Rolls:
    """Keeps a fleet in step with its directory. `unusable` says why files may seem to be gone.

    `looks` is how long this process must have seen a file missing before it counts as removed;
    `overdue` says that one cannot count before the next scan.
    """

    def __init__(
        self,
        fleet: Fleet,
        specs: Directory,
        statuses: Statuses,
        clock: Clock,
        by_hand: Sequence[ByHand],
    ) -> None:
        self._fleet = fleet
        self._specs = specs
        self._statuses = statuses
        self._clock = clock
        self._by_hand = tuple(by_hand)
        self._removed: dict[str, tuple[str, datetime]] = {}
        self._was_at: dict[str, str] = {}
        self._started = False
        self._missing = Lasting(clock)
        self._scanned = clock.running()
        self.looks = GONE_AFTER
        self.overdue = False
        self.unusable = ""

    def scan(self) -> set[str]:
        """Look at the directory; return the names that are to be planned again."""
        fleet = self._fleet
        self._scanned, self.overdue = self._clock.running(), False
        catalog = self._specs.scan()
        waits = fleet.unread or fleet.contested
        if not waits and (catalog is fleet.catalog or catalog == fleet.catalog):
            return set()
        aside_before = set(fleet.aside)
        unread_before = set(fleet.unread)
        known_before = fleet.specs.keys() | fleet.gone.keys() | unread_before
        there = {s.name for s in catalog.specs} | catalog.broken.keys() | catalog.writing.keys()
        missing = (known_before if self._started else self._remembered()) - there
        for name in there | missing:
            self.knows(name)
        dirty = fleet.take(catalog) | (unread_before - fleet.unread.keys())
        was_unusable, self.unusable = self.unusable, _unusable(catalog)
        self._started = True
        for name in there & fleet.gone.keys():
            fleet.gone.pop(name)
            self._missing.end(name)
            dirty.add(name)
        for name in missing:
            dirty |= self._lose(name)
        dirty |= self._rename(catalog)
        if was_unusable and not self.unusable:
            dirty |= fleet.gone.keys()
        for name in fleet.gone:
            self.gone_in(name)
        # What was set aside before and is not now has to be looked at.
        return dirty | (aside_before - fleet.aside.keys()) | fleet.aside.keys()

    def look(self, paths: Iterable[str]) -> set[str] | None:
        """Look at a few files alone; return the names to be planned again.

        None where that does not tell enough, so that the whole directory has to be scanned.
        """
        fleet = self._fleet
        specs = self._specs.look(paths) if self._started else None
        if specs is None or not fleet.takes_alone(specs):
            return None
        if not all(self.knows(spec.name) for spec in specs):
            return None
        return fleet.take_some(specs)

    def knows(self, name: str) -> bool:
        """Whether it is known what is remembered of a name; what is not yet is read."""
        fleet = self._fleet
        return (name in fleet.statuses and name not in fleet.unread) or self.read_again(name)

    def read_again(self, name: str) -> bool:
        """Read what the disk remembers of a name; False where that cannot be told now.

        Then what is in memory stays as it is, and nothing is planned by it: the disk may hold
        the only word of a deployment that was asked for. Each scan asks the disk again.
        """
        fleet = self._fleet
        try:
            status = self._statuses.read(name)
        except UnreadableError as error:
            fleet.unread[name] = str(error)
            return False
        fleet.unread.pop(name, None)
        fleet.put(status)
        return True

    def gone_in(self, name: str) -> timedelta:
        """Return how long a missing file has to be seen missing yet, before that may count.

        By time that nobody can set, from when this process first saw so to the last scan: since
        then the file may be back. While the directory is unusable nothing is seen: then nothing
        counts anyway, and afterwards it begins anew.
        """
        if self.unusable:
            self._missing.end(name)
            return timedelta(0)
        lasts = self._missing.lasts(name)
        if lasts < self.looks:
            return self.looks - lasts
        unseen = self._clock.running() - self._scanned
        if max(lasts - unseen, timedelta(0)) >= self.looks:
            return timedelta(0)
        self.overdue = True
        return _FIRST_LOOK

    def missing(self, now: datetime) -> dict[str, str]:
        """Return the names that are gone and not acted on, or went just now, and at what."""
        fleet = self._fleet
        within = MASS_REMOVAL_WITHIN
        for name in [n for n, (_, at) in self._removed.items() if not now - at < within]:
            del self._removed[name]
        found = {name: digest for name, (digest, _) in self._removed.items()}
        for name in fleet.gone:
            status = fleet.statuses[name]
            if status.removal is None or status.removal.begun is None:
                found[name] = _at(status)
        return found

    def forgotten(self, name: str) -> None:
        """Nothing more is known of a removed name."""
        was_at = self._was_at.pop(name, "")
        self._missing.end(name)
        self._fleet.drop(name)
        self._removed[name] = (was_at, self._clock.now())

    def _remembered(self) -> set[str]:
        """Return the names that something is remembered of; read once, at the start."""
        return set(self._statuses.names())

    def _lose(self, name: str) -> set[str]:
        """Keep a missing name in view, where there is anything to remember of it."""
        fleet = self._fleet
        if name in fleet.unread:
            return set()
        status = fleet.statuses[name]
        if not status.stack:
            fleet.drop(name)
            return set()
        if self._specs.removed_by_commit(name):
            marked = transitions.removal_marked(
                status, MarkRemoved(confirmed=True), self._clock.now()
            )
            with suppress(NotDurableError):  # then it waits as any missing file does
                fleet.put(self._statuses.write(marked))
        fleet.gone[name] = status.stack
        self._was_at[name] = _at(status)
        fleet.changed.pop(name, None)
        return {name}

    def _rename(self, catalog: Catalog) -> set[str]:
        """Move the status of a file that is gone to a new one of the same stack."""
        fleet = self._fleet
        contested, fleet.contested = fleet.contested, {}
        by_stack = {stack: name for name, stack in fleet.gone.items() if name not in fleet.unread}
        for name, (_, claimed) in catalog.broken.items() if by_stack else ():
            old = by_stack.get(str(claimed))
            if old is not None and not self._counts(old):
                fleet.contested[old] = name  # it may be that file by another name, with a slip
        dirty: set[str] = set()
        for spec in catalog.specs if by_stack else ():
            stack = str(spec.stack)
            old = by_stack.get(stack)
            if old is None or spec.name in fleet.unread:
                continue
            status = fleet.statuses[spec.name]
            if self._was_beside(status, stack) and not self._counts(old):
                told = (
                    f"the stack {stack} is that of {old}, whose file is gone; nothing runs for "
                    "this one before that counts as removed"
                )
                self._contest(old, spec, State.CONFLICT, Reason(ReasonCode.CONFLICT, told))
            elif not status.stack:
                failed = self._take_over(old, spec.name)
                if failed:
                    reason = Reason(ReasonCode.NOT_DURABLE, f"renamed from {old}: {failed}")
                    self._contest(old, spec, State.UNKNOWN, reason)
                    continue
                del by_stack[stack]
                dirty.add(spec.name)
        return dirty | (contested.keys() & fleet.gone.keys() - fleet.contested.keys())

    def _contest(self, old: str, spec: Spec, state: State, reason: Reason) -> None:
        """Keep a missing name and its stack as they are, and another one from that stack."""
        self._fleet.contested[old] = spec.name
        self._fleet.aside.setdefault(spec.name, Aside(state, reason, spec.path))

    def _was_beside(self, status: Status, stack: str) -> bool:
        """Whether a name stood in conflict with the one that had deployed a stack."""
        deployed = status.stack == stack and status.attempt is not None
        return status.state is State.CONFLICT and not deployed

    def _counts(self, name: str) -> bool:
        """Whether a missing file counts as removed by now."""
        left = timedelta.max if self.unusable else self.gone_in(name)
        return counts(self._fleet.statuses[name], left, self._clock.now())

    def _take_over(self, old: str, new: str) -> str:
        """Make what is remembered and said of a name another one's; return why that cannot be."""
        try:
            # What people said goes first, so that nothing runs without it. It stays with the old
            # name until its status is gone: the rename may be taken back in between.
            for each in self._by_hand:
                each.move(old, new)
            self._move(old, new)
        except NotDurableError as error:
            return str(error)
        with suppress(NotDurableError):  # then a name stays held that has no file
            for each in self._by_hand:
                each.moved(old)
        return ""

    def _move(self, old: str, new: str) -> None:
        fleet = self._fleet
        status = replace(fleet.statuses[old], name=new, removal=None)
        note = f"renamed from {old}"
        status = transitions.handled(status, "", note, self._clock.now())
        written = self._statuses.write(status)
        self._statuses.forget(old)
        self._missing.end(old)
        fleet.drop(old)
        fleet.put(written)


def _at(status: Status) -> str:
    """Return what a stack was last asked to be at."""
    return status.attempt.digest if status.attempt is not None else ""


def _unusable(catalog: Catalog) -> str:
    """Return why nothing that is missing may be taken for removed."""
    if not catalog.complete:
        told = f": {catalog.problems[0]}" if catalog.problems else ""
        return f"the directory cannot be read whole, so nothing counts as removed{told}"
    if not catalog.specs and not catalog.broken:
        return "the directory holds no spec at all, so nothing counts as removed; bring them back"
    return ""
