"""What is counted and timed: how a measure is described, and who takes the numbers. Pure.

The tables (`of_loop`, `of_engine`) say what there is, under names that stay. Whoever has a number
gives it to a `Meter`; without an address to serve them at that is `OFF`, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Protocol

__all__ = ["OFF", "OPERATION", "Kind", "Label", "Look", "Measure", "Meter", "Reading"]

# A measure whose labels have no more combinations than this shows all of them from the start, at
# 0: what appears at its first event would hide that event from a rate.
MOST_SHOWN_AT_ONCE = 256


class Kind(StrEnum):
    """What a measure is, in Prometheus's words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its name, and every value it has, or where that is not known before, `about`."""

    name: str
    values: tuple[str, ...] = ()
    about: str = ""


# Of the loop and of the engine alike.
OPERATION = Label(
    "operation",
    ("update", "preview", "refresh", "destroy", "detect-drift", "remediate-drift"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that is measured; `name` stays. `buckets` are the bounds of a histogram."""

    name: str
    kind: Kind
    about: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def shown_at_once(self) -> tuple[tuple[str, ...], ...]:
        """The labels' values that are shown from the start."""
        if self.kind is Kind.GAUGE or not all(label.values for label in self.labels):
            return ()
        found = tuple(product(*(label.values for label in self.labels)))
        return found if len(found) <= MOST_SHOWN_AT_ONCE else ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A gauge's value at this moment, with the values of its labels, in their order."""

    measure: Measure
    value: float
    labels: tuple[str, ...] = ()


# Is asked at each scrape.
Look = Callable[[], Iterable[Reading]]


class Meter(Protocol):
    """Takes numbers. Any thread may give them; the labels' values come in their order."""

    def count(self, measure: Measure, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        ...

    def observe(self, measure: Measure, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        ...

    def timed(self, measure: Measure, *labels: str) -> AbstractContextManager[None]:
        """Add the seconds that a block takes to a histogram."""
        ...

    def ask(self, look: Look) -> None:
        """Have this asked at each scrape, from a thread of the scrape's own."""
        ...


class _Off:
    """Takes nothing."""

    def count(self, measure: Measure, *labels: str, by: float = 1.0) -> None:
        """Forget it."""

    def observe(self, measure: Measure, value: float, *labels: str) -> None:
        """Forget it."""

    def timed(self, measure: Measure, *labels: str) -> AbstractContextManager[None]:
        """Time nothing."""
        del measure, labels
        return nullcontext()

    def ask(self, look: Look) -> None:
        """Ask nobody."""


OFF: Meter = _Off()
