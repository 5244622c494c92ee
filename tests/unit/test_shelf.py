from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model import Status
from reconciler.shelf import AT_HAND, Shelf
from tests.factories import run, settled


def _statuses(count: int) -> dict[str, Status]:
    base = settled()
    return {f"s{n}": replace(base, name=f"s{n}", failures=n % 7) for n in range(count)}


def test_all_come_back_as_they_were() -> None:
    """Whatever is packed and whatever is at hand, a status comes back equal."""
    given, shelf = _statuses(2 * AT_HAND), Shelf()
    shelf.update(given)
    assert dict(shelf) == given
    assert len(shelf) == len(given)
    assert all(name in shelf for name in given)
    assert "nothing" not in shelf


def test_the_last_of_a_name_counts() -> None:
    """A status that is put again replaces what was there, packed or not; one that goes is gone."""
    given, shelf = _statuses(2 * AT_HAND), Shelf()
    shelf.update(given)
    for name in ("s0", f"s{2 * AT_HAND - 1}"):
        other = replace(given[name], failures=9)
        shelf[name] = other
        assert shelf[name] == other
        assert len(shelf) == len(given)
        del shelf[name]
        assert name not in shelf
        with pytest.raises(KeyError):
            shelf[name]
        shelf[name] = given[name]
    with pytest.raises(KeyError):
        del shelf["nothing"]


def test_what_is_in_flight_is_at_hand() -> None:
    """A status with a run is kept as it is, however many others come after it."""
    shelf, flying = Shelf(), replace(settled(), name="flying", run=run())
    shelf["flying"] = flying
    shelf.update(_statuses(2 * AT_HAND))
    assert shelf["flying"] is flying
