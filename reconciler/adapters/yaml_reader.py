"""YAML, read strictly and once, with the place of everything.

One pass over PyYAML's event stream. What makes YAML surprising is refused (duplicate keys,
anchors, tags, merge keys, a second document), and a scalar becomes what its place wants: where
the schema says text, `0123`, `on` and `12e4567` are the texts that were written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

import yaml

from reconciler.adapters.yaml_faults import YamlFault, explain

__all__ = [
    "ANYTHING",
    "INTEGER",
    "MAX_DEPTH",
    "MAX_VALUES",
    "NOTHING",
    "Document",
    "Shape",
    "escape",
    "read",
    "read_all",
]

T = TypeVar("T")

# Nothing a spec can say is deeper than 10; deeper ones are made to exhaust whoever reads them.
MAX_DEPTH: Final = 40
# 100 schedules and 1,000 variables take 6,000; more would hold up the specs beside it.
MAX_VALUES: Final = 20_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NOT_IN_YAML: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufffe\uffff]"  # YAML 1.2, rule 1
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What belongs at a place: `types` of JSON's (empty: any), `keys`, `other` keys, `items`.

    `whole` is an object that is replaced as one, as a secret's reference is. `told` is the
    place's pointer where its line is to be kept.
    """

    types: frozenset[str] = frozenset()
    keys: Mapping[str, Shape] = field(default_factory=lambda: MappingProxyType({}))
    other: Shape | None = None
    items: Shape | None = None
    whole: bool = False
    told: str = ""


ANYTHING: Final = Shape()


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says: `tree` of plain values, and JSON pointer → (line, column) from 1.

    `places` is where a scalar stands, or the key of a list or an object; `keys` is where the
    keys stand.
    """

    tree: object
    places: Mapping[str, tuple[int, int]]
    keys: Mapping[str, tuple[int, int]]


def escape(key: str) -> str:
    """Write a key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def read(content: bytes, shape: Shape, belongs: str = "") -> Document | YamlFault:
    """Read one document of UTF-8 text; the first fault where there is one.

    `belongs` says what an empty file should hold.
    """
    return _read(content, lambda reader: reader.document(shape, belongs))


def read_all(content: bytes, shape: Shape) -> tuple[Document, ...] | YamlFault:
    """Read the documents of UTF-8 text, one or many; the first fault where there is one."""
    return _read(content, lambda reader: reader.documents(shape))


def _read(content: bytes, take: Callable[[_Reader], T]) -> T | YamlFault:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return YamlFault(line, 1, "", "is not UTF-8 text; save the file as UTF-8")
    strange = _NOT_IN_YAML.search(text)
    if strange:
        line, column = _place_in(text, strange.start())
        code = f"U+{ord(strange[0]):04X}"
        message = f"holds the control character {code}, which YAML does not allow; remove it"
        return YamlFault(line, column, "", message)
    try:
        return take(_Reader(text))
    except _FaultError as error:
        return error.fault
    except yaml.YAMLError as error:
        return explain(error, text)


def _place_in(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


class _FaultError(Exception):
    def __init__(self, event: Any, pointer: str, message: str) -> None:
        super().__init__(message)
        line, column = _place(event)
        self.fault = YamlFault(line, column, pointer, message)


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Reader:
    """Builds the tree out of events; raises _FaultError, or what PyYAML raises."""

    def __init__(self, text: str) -> None:
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self.places: dict[str, tuple[int, int]] = {}
        self.keys: dict[str, tuple[int, int]] = {}
        self.values = 0

    def document(self, shape: Shape, belongs: str) -> Document:
        next(self.events)
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            raise _FaultError(start, "", f"is empty; {belongs}")
        first = next(self.events)
        self.places[""] = _place(first)
        tree = self.value(first, "", shape, 0)
        next(self.events)
        end = next(self.events)
        if not isinstance(end, yaml.StreamEndEvent):
            message = "a second document begins; one file holds one spec, so split the file"
            raise _FaultError(end, "", message)
        return Document(tree, self.places, self.keys)

    def documents(self, shape: Shape) -> tuple[Document, ...]:
        next(self.events)
        found: list[Document] = []
        while not isinstance(next(self.events), yaml.StreamEndEvent):
            first = next(self.events)
            self.places, self.keys = {"": _place(first)}, {}
            tree = self.value(first, "", shape, 0)
            next(self.events)
            found.append(Document(tree, self.places, self.keys))
        return tuple(found)

    def value(self, event: Any, at: str, shape: Shape, depth: int) -> object:
        self.values += 1
        if self.values > MAX_VALUES:
            raise _FaultError(event, at, f"holds more than {MAX_VALUES:,} values; split the file")
        if depth > MAX_DEPTH:
            raise _FaultError(event, "", f"is nested deeper than {MAX_DEPTH} levels; flatten it")
        if isinstance(event, yaml.AliasEvent):
            message = "an alias (*) is not allowed; write the value out, or quote it if it is text"
            raise _FaultError(event, at, message)
        self.refuse_marks(event, at)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(at, shape, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(at, shape, depth)
        if event.value or not event.implicit[0]:
            self.places[at] = _place(event)
        return self.scalar(event, at, shape) if event.implicit[0] else event.value

    def refuse_marks(self, event: Any, at: str) -> None:
        if event.anchor is not None:
            message = "an anchor (&) is not allowed; write the value out, or quote it if it is text"
            raise _FaultError(event, at, message)
        if event.tag is not None:
            message = "a tag (!) is not allowed; leave it out, or quote the value if it is text"
            raise _FaultError(event, at, message)

    def mapping(self, at: str, shape: Shape, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if isinstance(event, yaml.AliasEvent) or not isinstance(event, yaml.ScalarEvent):
                raise _FaultError(event, at, "a key is no text; write it as 'key: value'")
            self.refuse_marks(event, at)
            key: str = event.value
            if key == "<<" and event.implicit[0]:
                message = "a merge key (<<) is not allowed; write the values out"
                raise _FaultError(event, at, message)
            if key in found:
                line = self.keys[f"{at}/{escape(key)}"][0]
                # What stands where a secret belongs may be one, and is not repeated.
                named = "" if "/secret" in at else f" '{key[:80]}'"
                message = f"the key{named} is here twice, first in line {line}; keep one of them"
                raise _FaultError(event, at, message)
            here = f"{at}/{escape(key)}"
            self.keys[here] = self.places[here] = _place(event)
            below = shape.keys.get(key) or shape.other or ANYTHING
            found[key] = self.value(next(self.events), here, below, depth + 1)
        return found

    def sequence(self, at: str, shape: Shape, depth: int) -> list[object]:
        found: list[object] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = f"{at}/{len(found)}"
            self.places[here] = _place(event)
            found.append(self.value(event, here, shape.items or ANYTHING, depth + 1))
        return found

    def scalar(self, event: Any, at: str, shape: Shape) -> object:
        """Read a plain scalar as what its place wants; what does not fit stays text."""
        text: str = event.value
        wanted = shape.types
        if (not wanted or "boolean" in wanted) and text in {"true", "false"}:
            return text == "true"
        if (not wanted or "integer" in wanted) and INTEGER.match(text):
            return int(text)
        if text in NOTHING:
            if text or not wanted or "null" in wanted:
                return None  # whether it may be, the schema says
            self.places[at] = self.places.get(at) or _place(event)
            right = "; write '' for an empty text" if "string" in wanted else "; give it one"
            raise _FaultError(
                _At(self.places[at]), at, f"has no value{right}, or leave the key out"
            )
        return text


class _At:
    """A place that looks like an event's."""

    def __init__(self, place: tuple[int, int]) -> None:
        self.start_mark = _Mark(place[0] - 1, place[1] - 1)


@dataclass(frozen=True, slots=True)
class _Mark:
    line: int
    column: int
