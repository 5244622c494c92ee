"""Frozen values as JSON, and back: exactly, and nothing that is not one of them. Pure.

A dataclass becomes an object with camelCase keys; what has its default is left out. A
datetime is RFC 3339 in UTC, an enumeration its word.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

__all__ = ["camel_case", "from_json", "time_text", "to_json"]

T = TypeVar("T")


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
        case tuple():
            return [to_json(item) for item in value]
        case Mapping():
            return {str(key): to_json(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {
            camel_case(f.name): to_json(getattr(value, f.name))
            for f in fields(value)
            if getattr(value, f.name) != _default(f)
        }
    raise TypeError(f"{type(value).__name__} has no JSON form")


def from_json(kind: type[T], value: object) -> T:
    """Read a dataclass; ValueError where the JSON is not one, or says more than it."""
    read: T = _read(kind, value)
    return read


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


@cache
def _shape(kind: type) -> Mapping[str, tuple[str, Any, bool]]:
    """JSON key → (field, its type, whether it must be there)."""
    hints = typing.get_type_hints(kind)
    return {
        camel_case(f.name): (f.name, hints[f.name], _default(f) is MISSING) for f in fields(kind)
    }


def _read(kind: Any, value: object) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        if value is None and types.NoneType in arguments:
            return None
        return _read(next(a for a in arguments if a is not types.NoneType), value)
    if origin is tuple:
        return tuple(_read(arguments[0], item) for item in _expect(list, value))
    if origin is Mapping:
        items = _expect(dict, value).items()
        return MappingProxyType({str(k): _read(arguments[1], v) for k, v in items})
    if is_dataclass(kind):
        return _read_dataclass(typing.cast("type", kind), _expect(dict, value))
    if kind is datetime:
        return _read_time(_expect(str, value))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(_expect(str, value))
    return _expect(kind, value)


def _read_dataclass(kind: type, value: Mapping[str, object]) -> object:
    shape = _shape(kind)
    strange = value.keys() - shape.keys()
    if strange:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(strange))}")
    missing = [key for key, (_, _, needed) in shape.items() if needed and key not in value]
    if missing:
        raise ValueError(f"{kind.__name__} needs {', '.join(missing)}")
    return kind(**{shape[key][0]: _read(shape[key][1], item) for key, item in value.items()})


def _read_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time has no zone")
    return moment.astimezone(UTC)


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{kind.__name__} expected, {type(value).__name__} found")
    return value
