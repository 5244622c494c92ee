"""How single values look on the wire: times, and reading JSON of unknown shape. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from reconciler.api.types import UNSET_TIME
from reconciler.mistakes import Mistake

__all__ = [
    "UNSET_TEXT",
    "Fault",
    "Pointer",
    "Reader",
    "created_text",
    "nanosecond_text",
    "parse_nanoseconds",
    "parse_time",
    "pointer_text",
    "step_time_text",
]

# A place in a JSON document: keys and indexes from the root.
Pointer = tuple[str | int, ...]

UNSET_TEXT = "0001-01-01T00:00:00Z"

_NANOSECOND_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\Z")
_NS = 1_000_000_000
# Ten pages of an organization's list have some thousand; each takes about 200 bytes.
_TIMES = 8192


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place of a document, and what would be right."""

    pointer: Pointer
    message: str
    kind: Mistake = Mistake.WRONG_VALUE


def pointer_text(pointer: Pointer) -> str:
    """Write a place the way people do: `operationContext.preRunCommands[0]`."""
    text = ""
    for part in pointer:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class Reader:
    """Takes typed values out of JSON; what does not fit is kept as a fault, and read as absent.

    A null is absent. After reading, `faults` says whether what was read may be used.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, pointer: Pointer, message: str) -> None:
        """Keep one fault."""
        self.faults.append(Fault(pointer, message))

    def mapping(self, value: object, pointer: Pointer) -> dict[str, object]:
        """Read an object; an absent one is empty."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(pointer, f"is {_kind(value)}; an object belongs here")
            return {}
        return value

    def text(self, value: object, pointer: Pointer) -> str:
        """Read a string; an absent one is empty."""
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fault(pointer, f"is {_kind(value)}; a string belongs here")
            return ""
        if "\0" in value:
            self.fault(pointer, "holds a NUL character, which no program can be given")
            return ""
        return value

    def texts(self, value: object, pointer: Pointer) -> tuple[str, ...]:
        """Read a list of strings; an absent one is empty."""
        if value is None:
            return ()
        if not isinstance(value, list):
            self.fault(pointer, f"is {_kind(value)}; a list of strings belongs here")
            return ()
        return tuple(self.text(item, (*pointer, i)) for i, item in enumerate(value))

    def flag(self, value: object, pointer: Pointer, default: bool) -> bool:  # noqa: FBT001 - the field's own default
        """Read a boolean."""
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(pointer, f"is {_kind(value)}; true or false belongs here")
            return default
        return value


def _kind(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "null"


@lru_cache(maxsize=_TIMES)
def created_text(moment: datetime) -> str:
    """Write `created` and `modified`: UTC, milliseconds, a space and no zone."""
    milliseconds = moment.microsecond // 1000
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{milliseconds:03}"


@lru_cache(maxsize=_TIMES)
def step_time_text(moment: datetime) -> str:
    """Write the times of jobs and steps: RFC 3339, microseconds, Z."""
    if moment == UNSET_TIME:
        return UNSET_TEXT
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@lru_cache(maxsize=_TIMES)
def parse_time(text: str) -> datetime:
    """Read either of the two forms above; ValueError where it is neither.

    A list that is asked for again and again has mostly the same times in it: they are kept.
    """
    if text.endswith("Z"):
        if text == UNSET_TEXT:
            return UNSET_TIME
        if _NANOSECOND_TIME.match(text) is None:
            raise ValueError(f"{text!r} is not an RFC 3339 time in UTC")
        return datetime.fromisoformat(text)  # what is finer than a microsecond is cut off
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def nanosecond_text(timestamp_ns: int | None) -> str:
    """Write the time of a log line: RFC 3339, nanoseconds, Z; None is the unset time."""
    if timestamp_ns is None:
        return UNSET_TEXT
    seconds, rest = divmod(timestamp_ns, _NS)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{rest:09}Z"


def parse_nanoseconds(text: str) -> int | None:
    """Read the time of a log line; None for the unset time, ValueError for another form."""
    if text == UNSET_TEXT:
        return None
    match = _NANOSECOND_TIME.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time in UTC")
    seconds = int(datetime.fromisoformat(match[1] + "+00:00").timestamp())
    return seconds * _NS + int((match[2] or "").ljust(9, "0"))
