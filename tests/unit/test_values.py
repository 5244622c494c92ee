"""Another value is made of a frozen one as `dataclasses.replace` makes it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reconciler.model import Reason, ReasonCode, State, Status
from reconciler.values import replace
from tests.factories import NOW, spec


@dataclasses.dataclass(frozen=True, slots=True)
class Lonely:
    """A value of one field."""

    number: int


CHANGES: list[tuple[Any, dict[str, Any]]] = [
    (Status(name="web", generation=3), {"state": State.READY, "written": NOW}),
    (Status(name="web"), {}),
    (Reason(ReasonCode.NEW, "it is new"), {"message": "it is very new"}),
    (spec("web"), {"name": "shop", "labels": {"team": "web"}}),
    (Lonely(1), {"number": 2}),
    (Lonely(1), {}),
]


@pytest.mark.parametrize(("value", "changes"), CHANGES)
def test_it_makes_what_the_standard_library_makes(value: Any, changes: dict[str, Any]) -> None:
    """The same value, of the same class and hash, and the old one is as it was."""
    before = repr(value)
    made = replace(value, **changes)
    assert made == dataclasses.replace(value, **changes)
    assert type(made) is type(value)
    assert repr(value) == before
    assert made is not value


def test_a_field_that_is_none_is_refused() -> None:
    """A change of what the value does not have is a mistake of ours, and is named."""
    with pytest.raises(TypeError, match="Lonely has no field letter"):
        replace(Lonely(1), letter="a")  # type: ignore[call-arg]


def test_what_is_made_is_frozen_too() -> None:
    """Nothing of it can be set."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        replace(Lonely(1)).number = 3  # type: ignore[misc]
