"""JSON, read strictly but for one comma that documents and people leave behind. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["JsonFault", "JsonText", "read_json"]

# Nothing the APIs know is deeper than 10.
MAX_DEPTH: Final = 40
# As many as a spec may hold.
MAX_VALUES: Final = 20_000

# A string that is not closed ends the text, so that nothing is looked at twice.
_STRING_OR_COMMA: Final = re.compile(r'"(?:\\.|[^"\\])*+\\?(?:"|\Z)|,(?=\s*[\]}])', re.DOTALL)


@dataclass(frozen=True, slots=True)
class JsonText:
    """What a text says; `commas` tells that one was left out before a closing bracket."""

    tree: object
    commas: bool


@dataclass(frozen=True, slots=True)
class JsonFault:
    """What is wrong with a text and where, from 1; never a part of the text itself."""

    line: int
    column: int
    message: str


class _FaultError(Exception):
    pass


def read_json(text: str) -> JsonText | JsonFault:
    """Read one value; a fault where it is none, is too large, or holds a key twice."""
    try:
        return JsonText(_load(text), commas=False)
    except json.JSONDecodeError as error:
        fault = JsonFault(error.lineno, error.colno, _words(error.msg))
    except (_FaultError, RecursionError, ValueError) as error:
        return JsonFault(1, 1, _reason(error))
    without = _STRING_OR_COMMA.sub(lambda m: " " if m[0] == "," else m[0], text)
    if without == text:
        return fault
    try:
        return JsonText(_load(without), commas=True)
    except json.JSONDecodeError as error:
        return JsonFault(error.lineno, error.colno, _words(error.msg))
    except (_FaultError, RecursionError, ValueError) as error:
        return JsonFault(1, 1, _reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested far too deep"
    if isinstance(error, _FaultError):
        return str(error)
    return "holds a number that is far too long"


def _words(theirs: str) -> str:
    return f"is no valid JSON here: {theirs[:1].lower()}{theirs[1:]}"


def _load(text: str) -> object:
    tree = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    left = MAX_VALUES
    level: list[object] = [tree]
    for _ in range(MAX_DEPTH):
        left -= len(level)
        if left < 0:
            raise _FaultError(f"holds more than {MAX_VALUES:,} values")
        level = [below for value in level for below in _below(value)]
        if not level:
            return tree
    raise _FaultError(f"is nested deeper than {MAX_DEPTH} levels")


def _below(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _FaultError("holds a key twice in one object; keep one of them")
    return found


def _constant(_: str) -> object:
    raise _FaultError("holds NaN or Infinity, which are no JSON")
