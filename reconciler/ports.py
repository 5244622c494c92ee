"""What the loop needs of the world, as protocols; the adapters have them, and the simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from reconciler.api.types import DeploymentRequest, Operation, Secret
from reconciler.model import Catalog, Desired, HandRequest, Spec, Status

if TYPE_CHECKING:
    from reconciler.api.client import ApiClient

__all__ = ["ApiSource", "Requests", "Resolves", "Specs", "Statuses"]

# Gives the client to use now; EngineUnavailableError where there is none to be had.
ApiSource = Callable[[], "ApiClient"]


class Specs(Protocol):
    """Reads all spec files."""

    def scan(self) -> Catalog:
        """Return what the directory holds now."""
        ...


class Statuses(Protocol):
    """Keeps what is remembered of each name."""

    def read(self, name: str) -> Status:
        """Return what is remembered; a new status where there is nothing."""
        ...

    def write(self, status: Status) -> Status:
        """Make it durable and return what was written; NotDurableError where it cannot be."""
        ...


class Requests(Protocol):
    """Keeps what people asked for by hand."""

    def all(self) -> tuple[HandRequest, ...]:
        """Return all requests, the oldest first."""
        ...

    def remove(self, request_id: str) -> None:
        """Take a request away that has been dealt with; one that is gone is no error."""
        ...


class Resolves(Protocol):
    """Looks up what a spec leaves open."""

    def desired(self, spec: Spec) -> Desired:
        """Return what the spec wants now."""
        ...

    def request(
        self, spec: Spec, operation: Operation, commit: str, marker: str
    ) -> DeploymentRequest[Secret]:
        """Return what to send; SecretUnavailableError."""
        ...
