from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from types import MappingProxyType

import pytest

from reconciler.jsonform import camel_case, from_json, to_json

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    colour: Colour = Colour.RED
    some_number: int = 0
    flag: bool = False
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def test_defaults_are_left_out() -> None:
    """Only what is not at its default is written."""
    assert to_json(Outer(name="x")) == {"name": "x"}
    assert from_json(Outer, {"name": "x"}) == Outer(name="x")


def test_everything_comes_back() -> None:
    """A full value is written under camelCase keys and comes back the same."""
    outer = Outer(
        name="x", some_number=3, flag=True, inner=Inner(at=NOON), many=(Inner(at=NOON),),
        texts={"a": "b"},
    )  # fmt: skip
    body = {
        "name": "x",
        "someNumber": 3,
        "flag": True,
        "inner": {"at": "2026-03-02T12:00:00Z"},
        "many": [{"at": "2026-03-02T12:00:00Z"}],
        "texts": {"a": "b"},
    }
    assert to_json(outer) == body
    assert from_json(Outer, body) == outer


def test_times_are_utc() -> None:
    """A time of another zone is written and read as UTC."""
    other = timezone(timedelta(hours=2))
    assert to_json(NOON.astimezone(other)) == "2026-03-02T12:00:00Z"
    assert from_json(Inner, {"at": "2026-03-02T14:00:00+02:00"}).at.tzinfo is UTC


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"name": 3},
        {"name": None},
        {"name": "x", "strange": 1},
        {"name": "x", "colour": "blue"},
        {"name": "x", "someNumber": True},
        {"name": "x", "someNumber": 1.5},
        {"name": "x", "flag": 1},
        {"name": "x", "inner": []},
        {"name": "x", "inner": {"at": "2026-03-02T12:00:00"}},
        {"name": "x", "inner": {"at": "yesterday"}},
        {"name": "x", "inner": {"at": "0001-01-01T00:00:00+23:00"}},
        {"name": "x", "inner": {"at": "9999-12-31T23:00:00-23:00"}},
        {"name": "x", "many": {}},
        {"name": "x", "texts": {"a": 1}},
    ],
)
def test_what_is_none_is_refused(body: object) -> None:
    """JSON that is not exactly such a value is a ValueError, whatever is wrong with it."""
    with pytest.raises(ValueError, match=r"."):
        from_json(Outer, body)


def test_what_has_no_form() -> None:
    """A value this module does not know is a mistake of the caller."""
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json(object())


def test_camel_case() -> None:
    """A field's name is written as JSON and YAML do."""
    assert [camel_case(name) for name in ("a", "last_version")] == ["a", "lastVersion"]
