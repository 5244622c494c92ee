"""What took how long within what: spans, which go nowhere unless somebody asked for them. Pure.

A span is what a block does, and the part of the one that is around it. It holds names of specs,
stacks and steps, and never a value.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["NO_SPAN", "OFF", "Attribute", "Span", "Tracer"]

Attribute = str | int


class Span(Protocol):
    """One span, while its block goes on."""

    def set(self, name: str, value: Attribute) -> None:
        """Say something of it."""
        ...

    def fail(self, why: str) -> None:
        """Say that it did not go well."""
        ...


class Tracer(Protocol):
    """Makes spans. Any thread may; what a pool's threads do is part of what its caller does."""

    def span(
        self, name: str, attributes: dict[str, Attribute] | None = None
    ) -> AbstractContextManager[Span]:
        """Give the span of a block; an error that leaves the block is said of it."""
        ...


class _NoSpan:
    """A span that nobody asked for."""

    def set(self, name: str, value: Attribute) -> None:
        """Forget it."""

    def fail(self, why: str) -> None:
        """Forget it."""


NO_SPAN: Span = _NoSpan()
_NOTHING = nullcontext(NO_SPAN)


class _Off:
    """Makes none."""

    def span(
        self, name: str, attributes: dict[str, Attribute] | None = None
    ) -> AbstractContextManager[Span]:
        """Give one that goes nowhere."""
        del name, attributes
        return _NOTHING


OFF: Tracer = _Off()
