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
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, TypeVar

__all__ = ["camel_case", "from_json", "from_text", "time_text", "to_json", "to_text"]

T = TypeVar("T")

_DURATION = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,6})?)s\Z")


def camel_case(name: str) -> str:
    """Write a field's name as JSON and YAML do: `last_version` is `lastVersion`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def time_text(moment: datetime) -> str:
    """Write a time: RFC 3339, in UTC, with microseconds where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_json(value: object) -> object:
    """Write a value; TypeError where it is none of those this module knows."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return str(value)
        case datetime():
            return time_text(value)
        case timedelta():
            return f"{value.total_seconds():f}".rstrip("0").rstrip(".") + "s"
        case PurePath():
            return str(value)
        case tuple():
            return [to_json(item) for item in value]
        case frozenset():
            return [to_json(item) for item in sorted(value)]
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            camel_case(f.name): to_json(getattr(value, f.name))
            for f in fields(value)
            if (f.repr or f.compare) and getattr(value, f.name) != _default(f)
        }
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_text(value: object) -> str:
    """Write a value as one line of JSON."""
    return json.dumps(to_json(value), separators=(",", ":"), ensure_ascii=False)


def from_text(kind: type[T], text: str) -> T:
    """Read what `to_text` has written; ValueError where it is not that."""
    return from_json(kind, json.loads(text))


def from_json(kind: type[T], value: object) -> T:
    """Read a dataclass; ValueError where the JSON is not one, or says more than it."""
    read: T = _read(kind, value)
    return read


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


@cache
def _shape(kind: Any) -> Mapping[str, tuple[str, Any, bool]]:
    """JSON key → (field, its type, whether it must be there)."""
    plain = typing.get_origin(kind) or kind
    hints = typing.get_type_hints(plain)
    # What stands for the type variables of a generic dataclass, as in `Box[int]`.
    variables = dict(zip(getattr(plain, "__parameters__", ()), typing.get_args(kind), strict=False))
    return {
        camel_case(f.name): (
            f.name,
            _filled(hints[f.name], variables),
            _default(f) is MISSING,
        )
        for f in fields(plain)
        if f.repr or f.compare
    }


def _filled(kind: Any, variables: Mapping[Any, Any]) -> Any:
    """Put types where type variables stand."""
    if kind in variables:
        return variables[kind]
    parameters = getattr(kind, "__parameters__", ())
    if not parameters or not variables:
        return kind
    return kind[tuple(variables[p] for p in parameters)]


def _read(kind: Any, value: object) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        return _read_union(arguments, value)
    if origin is tuple:
        return tuple(_read(arguments[0], item) for item in _expect(list, value))
    if origin is frozenset:
        return frozenset(_read(arguments[0], item) for item in _expect(list, value))
    if origin is Mapping:
        items = _expect(dict, value).items()
        return MappingProxyType({str(k): _read(arguments[1], v) for k, v in items})
    if is_dataclass(origin or kind):
        return _read_dataclass(kind, _expect(dict, value))
    if kind is datetime:
        return _read_time(_expect(str, value))
    if kind is timedelta:
        return _read_duration(_expect(str, value))
    if isinstance(kind, type) and issubclass(kind, StrEnum | PurePath):
        return kind(_expect(str, value))
    return _expect(kind, value)


def _read_union(arguments: tuple[Any, ...], value: object) -> Any:
    """Read the first of a union's types that the value can be; None where that is one."""
    if value is None and types.NoneType in arguments:
        return None
    choices = [a for a in arguments if a is not types.NoneType]
    for choice in choices[:-1]:
        try:
            return _read(choice, value)
        except ValueError:
            continue
    return _read(choices[-1], value)


def _read_dataclass(kind: Any, value: Mapping[str, object]) -> object:
    shape, plain = _shape(kind), typing.get_origin(kind) or kind
    strange = value.keys() - shape.keys()
    if strange:
        raise ValueError(f"{plain.__name__} has no {', '.join(sorted(strange))}")
    missing = [key for key, (_, _, needed) in shape.items() if needed and key not in value]
    if missing:
        raise ValueError(f"{plain.__name__} needs {', '.join(missing)}")
    return plain(**{shape[key][0]: _read(shape[key][1], item) for key, item in value.items()})


def _read_duration(text: str) -> timedelta:
    match = _DURATION.match(text)
    if match is None:
        raise ValueError("a duration is no number of seconds")
    return timedelta(seconds=float(match[1]))


def _read_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time has no zone")
    return moment.astimezone(UTC)


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{kind.__name__} expected, {type(value).__name__} found")
    return value
