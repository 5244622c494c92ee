"""What the loop needs of the world, as protocols; the adapters have them, and the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from reconciler.api.types import DeploymentRequest, Operation, Secret
from reconciler.model import (
    Attempt,
    Catalog,
    Desired,
    HandRequest,
    Hold,
    Holds,
    Passage,
    Spec,
    Status,
)
from reconciler.planning.admission import Mass

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = [
    "ApiSource",
    "ByHand",
    "Directory",
    "HoldsBook",
    "Requests",
    "Resolves",
    "Specs",
    "Statuses",
]

# Gives the client to use now; EngineUnavailableError where there is none to be had.
ApiSource = Callable[[], "ApiClient"]


class Specs(Protocol):
    """Reads all spec files."""

    def scan(self) -> Catalog:
        """Return what the directory holds now."""
        ...


class Directory(Specs, Protocol):
    """Reads all spec files, and knows how they went where commits tell."""

    def look(self, paths: Iterable[str]) -> tuple[Spec, ...] | None:
        """Return the specs of changed files (paths below the directory), and nothing of others.

        None where only a scan can tell: one is gone, or invalid, or no plain file.
        """
        ...

    @property
    def writing(self) -> Mapping[str, datetime]:
        """Return the changed files that may not be whole yet, and when each is looked at again."""
        ...

    def removed_by_commit(self, name: str) -> bool:
        """Whether a commit after the last applied one removed the file, so no wait is needed."""
        ...


class Statuses(Protocol):
    """Keeps what is remembered of each name."""

    def names(self) -> tuple[str, ...]:
        """Return the names that anything is remembered of, also where the file is gone."""
        ...

    def read(self, name: str) -> Status:
        """Return what is remembered; a new status where there is nothing."""
        ...

    def keeps(self, name: str) -> bool:
        """Whether what was last read or written of a name is still there, as far as seen."""
        ...

    def write(self, status: Status) -> Status:
        """Make it durable and return what was written; NotDurableError where it cannot be."""
        ...

    def forget(self, name: str) -> None:
        """Take a status away, durably; NotDurableError where it cannot be."""
        ...


class ByHand(Protocol):
    """Keeps what people said of names by hand."""

    def move(self, old: str, new: str) -> None:
        """Let what was said of a name be about another, as its file was renamed; NotDurableError.

        What was said of the new one itself stays. Doing it twice is doing it once. What must never
        be missing stays with the old name too, until `moved`.
        """
        ...

    def moved(self, old: str) -> None:
        """Let go of what stayed with a name, as its file was renamed; NotDurableError."""
        ...


class Requests(ByHand, Protocol):
    """Keeps what people asked for by hand."""

    def all(self) -> tuple[HandRequest, ...]:
        """Return all requests, the oldest first."""
        ...

    def put(self, request: HandRequest) -> None:
        """Add a request, or put it in the place of the one with its id; NotDurableError."""
        ...

    def remove(self, request_id: str) -> None:
        """Take a request away that has been dealt with; one that is gone is no error."""
        ...


class HoldsBook(ByHand, Protocol):
    """Keeps what people hold by hand, and tells them which mass changes wait for them."""

    def read(self) -> Holds:
        """Return what is held and approved now."""
        ...

    def of(self, name: str) -> Hold | None:
        """Return what holds a name at this moment. May be called by several threads at once."""
        ...

    def tell(self, masses: Sequence[Mass]) -> bool:
        """Let people see which mass changes and removals wait for their word.

        False where they cannot see it yet: it has to be told again.
        """
        ...

    def use_up(self, passages: Iterable[Passage]) -> None:
        """Take down that these let nothing through any more; NotDurableError."""
        ...


class Resolves(Protocol):
    """Looks up what a spec leaves open."""

    def prepare(self, specs: Iterable[Spec]) -> None:
        """Look up at the same time what takes long of specs that will be asked for now."""
        ...

    def desired(self, spec: Spec) -> Desired:
        """Return what the spec wants now."""
        ...

    def removed(self, spec: Spec, attempt: Attempt | None) -> Desired:
        """Return what destroys the stack of a removed spec, from what was last asked for."""
        ...

    def request(
        self, spec: Spec, operation: Operation, commit: str, marker: str
    ) -> DeploymentRequest[Secret]:
        """Return what to send; SecretUnavailableError."""
        ...
