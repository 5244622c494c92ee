"""Frozen values as JSON, and back: exactly, and nothing that is not one of them. Pure.

A dataclass becomes an object with camelCase keys; what has its default is left out. A
datetime is RFC 3339 in UTC, a duration its seconds (`90s`), an enumeration its word, a set a
sorted list.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, partial
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

__all__ = ["camel_case", "from_json", "from_text", "time_text", "to_json", "to_text"]

T = TypeVar("T")

_DURATION = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,6})?)s\Z")


def camel_case(name: str) -> str:
    """Write a field's name as JSON and YAML do: `last_version` is `lastVersion`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def time_text(moment: datetime) -> str:
    """Write a time: RFC 3339, in UTC, with microseconds where there are some."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat().replace("+00:00", "Z")


def to_json(value: object) -> object:
    """Write a value; TypeError where it is none of those this module knows."""
    kind: Any = type(value)
    return _writer(kind)(value)


def _itself(value: Any) -> object:
    return value


# What a value of each type is written by; a subclass as the first of these that it is one of.
_WRITERS: Final[Mapping[type, Callable[[Any], object]]] = {
    types.NoneType: _itself,
    int: _itself,
    str: str,
    datetime: time_text,
    timedelta: lambda value: f"{value.total_seconds():f}".rstrip("0").rstrip(".") + "s",
    PurePath: str,
    tuple: lambda value: [to_json(item) for item in value],
    frozenset: lambda value: [to_json(item) for item in sorted(value)],
    Mapping: lambda value: {str(key): to_json(item) for key, item in value.items()},
}


# A status is written thousands of times in a burst, so what its types are is found out once.
@cache
def _writer(kind: Any) -> Callable[[Any], object]:
    for known, write in _WRITERS.items():
        if issubclass(kind, known):
            return write
    if is_dataclass(kind):
        return _writer_of_dataclass(kind)
    raise TypeError(f"{kind.__name__} has no JSON form")


def _writer_of_dataclass(kind: Any) -> Callable[[Any], object]:
    shown = [f for f in fields(kind) if f.repr or f.compare]
    members = [(f.name, camel_case(f.name), _default(f)) for f in shown]

    def write(value: Any) -> object:
        found: dict[str, object] = {}
        for name, key, default in members:
            item = getattr(value, name)
            if item is not default and item != default:
                found[key] = to_json(item)
        return found

    return write


def to_text(value: object) -> str:
    """Write a value as one line of JSON."""
    return json.dumps(to_json(value), separators=(",", ":"), ensure_ascii=False)


def from_text(kind: type[T], text: str) -> T:
    """Read what `to_text` has written; ValueError where it is not that."""
    return from_json(kind, json.loads(text))


def from_json(kind: type[T], value: object) -> T:
    """Read a dataclass; ValueError where the JSON is not one, or says more than it."""
    wanted: Any = kind
    read: T = _reader(wanted)(value)
    return read


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


class _Shape(NamedTuple):
    """Of a dataclass: JSON key → (field, what reads it), and which keys must be there."""

    members: Mapping[str, tuple[str, Callable[[Any], Any]]]
    needed: frozenset[str]


@cache
def _shape(kind: Any) -> _Shape:
    plain = typing.get_origin(kind) or kind
    hints = typing.get_type_hints(plain)
    # What stands for the type variables of a generic dataclass, as in `Box[int]`.
    variables = dict(zip(getattr(plain, "__parameters__", ()), typing.get_args(kind), strict=False))
    shown = [f for f in fields(plain) if f.repr or f.compare]
    return _Shape(
        {camel_case(f.name): (f.name, _reader(_filled(hints[f.name], variables))) for f in shown},
        frozenset(camel_case(f.name) for f in shown if _default(f) is MISSING),
    )


def _filled(kind: Any, variables: Mapping[Any, Any]) -> Any:
    """Put types where type variables stand."""
    if kind in variables:
        return variables[kind]
    parameters = getattr(kind, "__parameters__", ())
    if not parameters or not variables:
        return kind
    return kind[tuple(variables[p] for p in parameters)]


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what reads a value of a type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        choices = tuple(_reader(a) for a in arguments if a is not types.NoneType)
        return partial(_read_union, choices, types.NoneType in arguments)
    if origin in {tuple, frozenset}:
        return partial(_read_items, origin, _reader(arguments[0]))
    if origin is Mapping:
        return partial(_read_mapping, _reader(arguments[1]))
    if is_dataclass(origin or kind):
        return partial(_read_dataclass, kind)
    if kind is datetime:
        return _read_time
    if kind is timedelta:
        return _read_duration
    if isinstance(kind, type) and issubclass(kind, StrEnum | PurePath):
        return lambda value: kind(_expect(str, value))
    return partial(_expect, kind)


def _read_union(choices: tuple[Callable[[Any], Any], ...], optional: bool, value: object) -> Any:  # noqa: FBT001 - not for callers
    """Read the first of a union's types that the value can be; None where that is one."""
    if value is None and optional:
        return None
    for read in choices[:-1]:
        try:
            return read(value)
        except ValueError:
            continue
    return choices[-1](value)


def _read_items(kind: Any, read: Callable[[Any], Any], value: object) -> Any:
    return kind(read(item) for item in _expect(list, value))


def _read_mapping(read: Callable[[Any], Any], value: object) -> Mapping[str, Any]:
    return MappingProxyType({str(k): read(v) for k, v in _expect(dict, value).items()})


def _read_dataclass(kind: Any, value: object) -> object:
    members, needed = _shape(kind)
    plain, given = typing.get_origin(kind) or kind, _expect(dict, value)
    strange = given.keys() - members.keys()
    if strange:
        raise ValueError(f"{plain.__name__} has no {', '.join(sorted(strange))}")
    missing = needed - given.keys()
    if missing:
        raise ValueError(f"{plain.__name__} needs {', '.join(sorted(missing))}")
    found: dict[str, Any] = {}
    for key, item in given.items():
        name, read = members[key]
        found[name] = read(item)
    return plain(**found)


def _read_duration(value: object) -> timedelta:
    match = _DURATION.match(_expect(str, value))
    if match is None:
        raise ValueError("a duration is no number of seconds")
    return timedelta(seconds=float(match[1]))


def _read_time(value: object) -> datetime:
    moment = datetime.fromisoformat(_expect(str, value))
    if moment.tzinfo is None:
        raise ValueError("a time has no zone")
    try:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time is before all times, or after them") from None


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{kind.__name__} expected, {type(value).__name__} found")
    return value
