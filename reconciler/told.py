"""Statuses and holds of which is told what is worth it: into the outbox first, then on.

In this order nothing is lost: what crashes in between makes the same step again, and the outbox
takes no id twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from operator import attrgetter

from reconciler.adapters.host_news import Target
from reconciler.adapters.outbox import Outbox
from reconciler.clock import Clock
from reconciler.errors import NotDurableError
from reconciler.git.urls import identity
from reconciler.model import Hold, Holds, News, Passage, Spec, Status
from reconciler.planning.admission import Mass
from reconciler.planning.news import news, news_of_masses
from reconciler.ports import HoldsBook, Statuses
from reconciler.shelf import Shelf
from reconciler.values import replace

__all__ = ["Teller", "ToldHolds", "ToldStatuses"]


class Teller:
    """Puts news into the outbox, for the targets that want them."""

    def __init__(
        self,
        targets: Sequence[Target],
        outbox: Outbox,
        clock: Clock,
        link: Callable[[News], str] = attrgetter("url"),
    ) -> None:
        """`link` gives the address that news lead to."""
        self._targets = tuple(targets)
        self._link = link
        self._outbox = outbox
        self.clock = clock

    def tell(self, found: Sequence[News]) -> None:
        """Take what somebody wants to hear; NotDurableError."""
        for each in found:
            targets = tuple(t.name for t in self._targets if _wants(t, each))
            if targets:
                self._outbox.put(replace(each, url=self._link(each)), targets)


class ToldStatuses:
    """Statuses, of whose steps people are told; `spec` gives the spec of a name, if any."""

    def __init__(
        self, statuses: Statuses, teller: Teller, spec: Callable[[str], Spec | None]
    ) -> None:
        self._statuses = statuses
        self._teller = teller
        self._spec = spec
        self._known = Shelf()
        self._putting = threading.Lock()  # statuses are written by many threads

    def names(self) -> tuple[str, ...]:
        """Return the names that anything is remembered of."""
        return self._statuses.names()

    def read(self, name: str) -> Status:
        """Return what is remembered."""
        return self._put(self._statuses.read(name))

    def keeps(self, name: str) -> bool:
        """Whether what was last read or written of a name is still there, as far as seen."""
        return self._statuses.keeps(name)

    def write(self, status: Status) -> Status:
        """Tell what the step is worth, then make it durable; NotDurableError for both."""
        old = self._known.get(status.name) or self.read(status.name)
        spec = self._spec(status.name)
        where = identity(spec.request.source.repo_url) if spec is not None else ""
        self._teller.tell(news(old, status, self._teller.clock.now(), where))
        return self._put(self._statuses.write(status))

    def forget(self, name: str) -> None:
        """Take a status away."""
        self._statuses.forget(name)
        with self._putting:
            self._known.pop(name, None)

    def _put(self, status: Status) -> Status:
        with self._putting:
            self._known[status.name] = status
        return status


class ToldHolds:
    """Holds, of whose mass changes people are told."""

    def __init__(self, holds: HoldsBook, teller: Teller) -> None:
        self._holds = holds
        self._teller = teller
        self._masses: tuple[Mass, ...] = ()
        self._untold: tuple[News, ...] = ()

    def read(self) -> Holds:
        """Return what is held and approved now; what could not be told before is tried again."""
        self._tell_rest()
        return self._holds.read()

    def tell(self, masses: Sequence[Mass]) -> bool:
        """Let people see which mass changes wait for their word, and tell of new ones."""
        told = self._holds.tell(masses)
        self._untold += news_of_masses(self._masses, masses, self._teller.clock.now())
        self._masses = tuple(masses)
        self._tell_rest()
        return told

    def of(self, name: str) -> Hold | None:
        """Return what holds a name at this moment."""
        return self._holds.of(name)

    def move(self, old: str, new: str) -> None:
        """Hold a name as another one was held."""
        self._holds.move(old, new)

    def moved(self, old: str) -> None:
        """Hold a renamed one no longer under its old name."""
        self._holds.moved(old)

    def use_up(self, passages: Iterable[Passage]) -> None:
        """Take down that these let nothing through any more."""
        self._holds.use_up(passages)

    def _tell_rest(self) -> None:
        if self._untold:
            with suppress(NotDurableError):  # the disk is full: the next pass comes here again
                self._teller.tell(self._untold)
                self._untold = ()


def _wants(target: Target, found: News) -> bool:
    if found.kind not in target.on:
        return False
    return not found.name or any(fnmatchcase(found.name, pattern) for pattern in target.specs)
