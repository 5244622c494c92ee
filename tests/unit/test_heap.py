from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from reconciler.heap import Heap


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def _is_looked_at(value: object) -> bool:
    return any(other is value for other in gc.get_objects())


def test_what_is_kept_is_set_aside_once() -> None:
    """Many specs are set aside, and again only where very many have come or gone."""
    heap = Heap()
    first: list[object] = [[]]
    heap.after_pass(10)
    assert _is_looked_at(first)
    heap.after_pass(10_000)
    assert not _is_looked_at(first)
    second: list[object] = [[]]
    heap.after_pass(10_100)
    assert _is_looked_at(second)
    heap.after_pass(20_000)
    assert not _is_looked_at(second)


def test_garbage_that_was_set_aside_goes() -> None:
    """A cycle that became garbage after it was set aside goes at the next time."""
    heap = Heap()
    circle = _Circle()
    circle.itself = circle
    gone = weakref.ref(circle)
    heap.after_pass(10_000)
    del circle
    gc.collect()
    assert gone() is not None
    heap.after_pass(0)
    assert gone() is None


class _Circle:
    itself: object = None
