"""What people said by hand, for commands that only look: it is read, and nothing of it is changed.

A renamed file is seen with what was said of it under its old name, as a run would have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from reconciler.model import HandRequest, Hold, Holds, Passage
from reconciler.planning.admission import Mass
from reconciler.ports import HoldsBook, Requests
from reconciler.values import replace

__all__ = ["HoldsLookedAt", "RequestsLookedAt"]


class HoldsLookedAt:
    """Holds that are read only."""

    def __init__(self, holds: HoldsBook) -> None:
        self._holds = holds
        self._moved: dict[str, str] = {}

    def read(self) -> Holds:
        """Return what is held and approved now."""
        holds = self._holds.read()
        moved = {self._moved[n]: hold for n, hold in holds.names.items() if n in self._moved}
        names = {n: hold for n, hold in holds.names.items() if n not in self._moved}
        return replace(holds, names=MappingProxyType({**moved, **names}))

    def of(self, name: str) -> Hold | None:
        """Return what holds a name at this moment."""
        return self.read().of(name)

    def move(self, old: str, new: str) -> None:
        """See a name held as another one was."""
        self._moved[old] = new

    def moved(self, old: str) -> None:
        """Let go of nothing."""

    def tell(self, masses: Sequence[Mass]) -> bool:  # noqa: ARG002 - nobody is told
        """Tell nobody."""
        return True

    def use_up(self, passages: Iterable[Passage]) -> None:
        """Use nothing up."""


class RequestsLookedAt:
    """Requests that are read only."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._moved: dict[str, str] = {}

    def all(self) -> tuple[HandRequest, ...]:
        """Return all requests, the oldest first."""
        moved = self._moved
        return tuple(replace(r, name=moved.get(r.name, r.name)) for r in self._requests.all())

    def move(self, old: str, new: str) -> None:
        """See the requests about a name as about another one."""
        self._moved[old] = new

    def moved(self, old: str) -> None:
        """Let go of nothing."""

    def put(self, request: HandRequest) -> None:
        """Add nothing."""

    def remove(self, request_id: str) -> None:
        """Remove nothing."""
