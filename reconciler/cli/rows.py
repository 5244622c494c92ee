"""How specs stand, a row for each: from the status files, the specs' files and people's holds.

A spec's file is parsed only where it has changed since its status was written, or has none, so
that a broken one is told at once and 10,000 good ones cost little more than `stat`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from reconciler.adapters.spec_walk import Walk, name_of, walk
from reconciler.adapters.status_glance import Glance, Glimpse
from reconciler.cli.wiring import Place
from reconciler.model import Catalog, Hold, ReasonCode, State
from reconciler.planning.gates import NO_SUCH_SPEC
from reconciler.planning.holds import suspended_by
from reconciler.planning.usual import so_far, usual

__all__ = ["Row", "Rows", "needs_person"]

# What only a person can end, whatever the state says.
_PEOPLES: Final = frozenset(
    {
        ReasonCode.REFUSED,
        ReasonCode.APPROVAL,
        ReasonCode.MASS_CHANGE,
        ReasonCode.MASS_REMOVAL,
        ReasonCode.PAUSED,
        ReasonCode.DRIFTED,
        ReasonCode.ACCESS_DENIED,
        ReasonCode.SECRET_UNAVAILABLE,
        ReasonCode.NOT_DURABLE,
    }
)
# How it stands where no schedule runs, whatever is due by it.
_REST: Final = frozenset(
    {
        State.SUSPENDED,
        State.INVALID,
        State.CONFLICT,
        ReasonCode.API_UNAVAILABLE,
        ReasonCode.ACCESS_DENIED,
    }
)
# What a hold says nothing about: it is under way, or cannot be planned at all.
_BEFORE_HOLDS: Final = frozenset(
    {State.PROGRESSING, State.INVALID, State.CONFLICT, State.SUSPENDED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one spec stands. `gone`: its file is, and something is left to do or to remember.

    `elapsed` is how long it has run, None where it does not run.
    """

    name: str
    state: State
    code: str
    message: str
    seen: Glimpse
    gone: bool = False
    elapsed: timedelta | None = None

    @property
    def next_run(self) -> datetime | None:
        """When a schedule runs next; None where none does, as it is, or nobody can say when."""
        rests = self.state in _REST or self.code in _REST
        return None if rests else self.seen.next_run

    @property
    def began(self) -> datetime | None:
        """When what runs has begun; None where nothing does."""
        return self.seen.run.began if self.elapsed is not None and self.seen.run else None

    @property
    def usually(self) -> timedelta | None:
        """How long what runs usually takes; None where nothing runs, or nobody knows."""
        if self.elapsed is None:
            return None
        # What runs is the first word of its reason, also where its file was read before it ran.
        operation = self.message.partition(" ")[0]
        return usual(t for what, t in self.seen.took if what == operation)

    @property
    def timing(self) -> str:
        """How long it has run, and usually does; empty where it does not run."""
        return "" if self.elapsed is None else so_far(self.elapsed, self.usually)

    @property
    def settled_well(self) -> bool:
        """Whether nothing is left to wish for; what is gone is waited for by nobody."""
        waits = self.gone and self.code == ReasonCode.REMOVED and self.state is State.WAITING
        return waits or self.state in {State.READY, State.SUSPENDED}

    @property
    def needs_person(self) -> bool:
        """Whether it goes on only when a person does something."""
        return needs_person(self.state, self.code, self.message)


def needs_person(state: State, code: str, message: str = "") -> bool:
    """Whether what stands so goes on only when a person does something."""
    if state is State.PROGRESSING:
        return False
    alone = code == ReasonCode.DEPENDENCY and f"({NO_SUCH_SPEC})" in message
    return state in {State.INVALID, State.CONFLICT, State.STALLED} or code in _PEOPLES or alone


class Rows:
    """Makes the rows of one directory, again and again."""

    def __init__(self, where: Place) -> None:
        self._where = where
        self._glance = Glance(where.statuses.beside, where.state.statuses)

    def read(self) -> tuple[Row, ...]:
        """Return a row for every spec, and for every removed one that is not forgotten."""
        found = walk(self._where.directory)
        glimpses = self._glance.look()
        named: dict[str, list[str]] = {}
        for relative in found.files:
            named.setdefault(name_of(relative), []).append(relative)
        parsed = self._where.specs.some(found, list(self._stale(found, named, glimpses)))
        rows = list(self._there(named, glimpses, parsed))
        rows += (_gone(g) for n, g in glimpses.items() if _is_gone(n, g, named, found))
        holds, now = self._where.holds.read(), self._where.clock.now()
        ordered = sorted(rows, key=_by_name)
        return tuple(_timed(_held(row, holds.of(row.name)), now) for row in ordered)

    def of(self, names: Iterable[str]) -> tuple[Row, ...]:
        """Return the rows of some names, but for those that were forgotten."""
        wanted = frozenset(names)
        return tuple(row for row in self.read() if row.name in wanted)

    def _stale(
        self, found: Walk, named: Mapping[str, list[str]], glimpses: Mapping[str, Glimpse]
    ) -> Iterator[str]:
        """Yield the files that may say something else than when their status was written."""
        root = str(self._where.directory)
        defaults_ns = max((_changed_ns(f"{root}/{name}") for name in found.defaults), default=0)
        for name, files in named.items():
            seen = glimpses.get(name)
            for relative in files:
                if (
                    seen is None
                    or len(files) > 1
                    or max(_changed_ns(f"{root}/{relative}"), defaults_ns) >= seen.written_ns
                ):
                    yield relative

    def _there(
        self, named: Mapping[str, list[str]], glimpses: Mapping[str, Glimpse], parsed: Catalog
    ) -> Iterator[Row]:
        stacks = {spec.name: str(spec.stack) for spec in parsed.specs}
        for name in named:
            seen = glimpses.get(name) or Glimpse(name=name, stack=stacks.get(name, ""))
            if name in parsed.broken:
                problem = str(parsed.broken[name].problem)
                yield Row(
                    name=name,
                    state=State.INVALID,
                    code=ReasonCode.INVALID,
                    message=problem,
                    seen=seen,
                )
            elif not seen.code:
                message = "no run has looked at it yet"
                yield Row(
                    name=name, state=State.UNKNOWN, code=ReasonCode.NEW, message=message, seen=seen
                )
            else:
                yield _as_written(seen)


def _as_written(seen: Glimpse, *, gone: bool = False) -> Row:
    state = State(seen.state) if seen.state in _STATES else State.UNKNOWN
    return Row(
        name=seen.name, state=state, code=seen.code, message=seen.message, seen=seen, gone=gone
    )


_STATES: Final = frozenset(State)


def _is_gone(name: str, seen: Glimpse, named: Mapping[str, list[str]], found: Walk) -> bool:
    return name not in named and bool(seen.stack) and (seen.removal or found.complete)


def _gone(seen: Glimpse) -> Row:
    row = _as_written(seen, gone=True)
    if seen.removal:
        return row
    message = "the file is gone, and no run has looked since"
    return replace(row, state=State.WAITING, code=ReasonCode.REMOVED, message=message)


def _held(row: Row, hold: Hold | None) -> Row:
    """Show a hold that no pass has seen yet, and not one that was ended since."""
    if hold is not None and row.state not in _BEFORE_HOLDS:
        reason = suspended_by(hold, row.name)
        if row.state is State.SUSPENDED and row.message.startswith(reason.message):
            return row
        return replace(row, state=State.SUSPENDED, code=reason.code, message=reason.message)
    ended = hold is None and row.state is State.SUSPENDED
    if ended and not row.message.startswith("reconcile.suspend"):
        message = "no longer suspended, and no run has looked since"
        return replace(row, state=State.UNKNOWN, message=message)
    return row


def _timed(row: Row, now: datetime) -> Row:
    """Say how long it has run, where it runs."""
    began = row.seen.run.began if row.seen.run is not None else None
    if began is None or row.state is not State.PROGRESSING:
        return row
    return replace(row, elapsed=now - began)


def _by_name(row: Row) -> str:
    return row.name


def _changed_ns(path: str) -> int:
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116 - it is asked of 10,000 files
    except OSError:
        return 0
