"""What the console needs of the world, as protocols; the command line has what fits them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from reconciler.console.values import Item, Lane, LogPart, Order, Plans, Shown, Story, Viewer

__all__ = ["Denied", "Gate", "Source"]

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Who presents no good token: a status of 401 or 429, and why."""

    status: int
    message: str
    retry_after_s: int = 0


class Gate(Protocol):
    """Says who gets in, and writes down what they do. Any thread may call any method."""

    # Whether people come over TLS, also where a proxy ends it and plain http arrives here.
    secure: bool

    def admit(self, token: str, address: tuple[str, str], asked: str) -> Viewer | Denied:
        """Return who presents a token; `address` is the peer's, and whom it says it speaks for."""
        ...

    def still(self, viewer: Viewer) -> None:
        """Raise AnswerError 401 where the viewer's token is no longer good."""
        ...

    def noting(self, viewer: Viewer, action: str, target: str) -> AbstractContextManager[None]:
        """Write down what is done within, by whom, and what came of it."""
        ...


class Source(Protocol):
    """What there is to see and to do.

    A viewer sees what is theirs: what is not does not exist for them. Each method may raise a
    ReconcilerError, AnswerError among them with its status. Any thread may call any method.
    """

    # What the items are called, in the plural: specs, stacks.
    things: str
    # Whether there is a plan of what comes, and whether items depend on one another.
    plans_ahead: bool

    def items(self, viewer: Viewer) -> Sequence[Item]:
        """Return all items in the order in which a person looks: what needs one comes first."""
        ...

    def lanes(self, viewer: Viewer, names: Sequence[str], span: Span) -> Sequence[Lane]:
        """Return what of these items ran, runs and is due in a span."""
        ...

    def edges(self, viewer: Viewer) -> Mapping[str, tuple[str, ...]]:
        """Return what each item depends on, where it does on anything."""
        ...

    def story(self, viewer: Viewer, name: str, now: datetime) -> Story:
        """Return all that is known of one item; AnswerError 404."""
        ...

    def plans(self, viewer: Viewer) -> Plans:
        """Return what the next pass would do, and what holds the rest."""
        ...

    def deployment(self, viewer: Viewer, name: str, version: int) -> Shown:
        """Return a deployment; AnswerError 404."""
        ...

    def log(self, viewer: Viewer, shown: Shown, token: str) -> LogPart:
        """Return the next part of a deployment's log; the same token: nothing is new."""
        ...

    def hear(self, shown: Shown, tell: Callable[[], None]) -> Callable[[], None]:
        """Have `tell` called, from any thread, when a log may have more; return what ends it."""
        ...

    def act(self, viewer: Viewer, order: Order) -> str:
        """Do what a person asks for, and say what was done; AnswerError where it makes no sense."""
        ...
