"""YAML, read as fast as can be where nothing is wrong with it.

It makes the same tree as `yaml_reader` and keeps no places but those that are asked for, which
takes half the time. Whatever it does not like, it leaves to that reader to explain.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

import yaml

from reconciler.adapters.yaml_reader import ANYTHING, INTEGER, MAX_DEPTH, MAX_VALUES, NOTHING, Shape

__all__ = ["Places", "Plain", "read_plain"]

# The parser of libyaml without PyYAML's layers above it; None where PyYAML was built without.
_PARSER: Any = getattr(getattr(yaml, "cyaml", None), "CParser", None)
# Texts of this length come again in other files, mostly, and are kept once for all.
_SHARED_LENGTH: Final = 100
# YAML's own BOM, and what says UTF-16.
_MARKS: Final = ("\ufeff", "\ufffe")

Places = tuple[tuple[str, tuple[int, int]], ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """What a file says, and of the places that are told of later (line, column) from 1."""

    tree: object
    places: Places


class _StrangeError(Exception):
    """Something that only the other reader can explain."""


def read_plain(content: bytes, shape: Shape) -> Plain | None:
    """Read one document; None where `yaml_reader.read` has to look at it."""
    if _PARSER is None:
        return None
    try:
        text = content.decode("utf-8-sig")
        if text.startswith(_MARKS):
            return None
        reader = _Reader(_PARSER(text))
        return Plain(reader.document(shape), tuple(reader.places.items()))
    except (_StrangeError, UnicodeDecodeError, yaml.YAMLError):
        return None


class _Reader:
    __slots__ = ("left", "next", "places")

    def __init__(self, parser: Any) -> None:
        self.next = parser.get_event
        self.places: dict[str, tuple[int, int]] = {}
        self.left = MAX_VALUES

    def document(self, shape: Shape) -> object:
        self.next()
        if type(self.next()) is not yaml.DocumentStartEvent:
            raise _StrangeError
        tree = self.value(self.next(), shape, 0)
        self.next()
        if type(self.next()) is not yaml.StreamEndEvent:
            raise _StrangeError
        return tree

    def value(self, event: Any, shape: Shape, depth: int) -> object:
        self.left -= 1
        if self.left < 0:
            raise _StrangeError
        kind = type(event)
        if kind is yaml.ScalarEvent:
            if event.anchor is not None or event.tag is not None:
                raise _StrangeError
            text: str = event.value
            if shape.told and (text or not event.implicit[0]):
                self.keep(shape.told, event)
            if event.implicit[0]:
                return _scalar(text, shape.types)
            return sys.intern(text) if len(text) < _SHARED_LENGTH else text
        if depth > MAX_DEPTH or kind is yaml.AliasEvent:
            raise _StrangeError
        if event.anchor is not None or event.tag is not None:
            raise _StrangeError
        if kind is yaml.MappingStartEvent:
            return self.mapping(shape, depth + 1)
        return self.sequence(shape, depth + 1)

    def mapping(self, shape: Shape, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        following, keys, other = self.next, shape.keys, shape.other or ANYTHING
        while type(event := following()) is yaml.ScalarEvent:
            key: str = event.value
            if event.anchor is not None or event.tag is not None or key in found:
                raise _StrangeError
            if key == "<<" and event.implicit[0]:
                raise _StrangeError
            below = keys.get(key, other)
            if below.told:
                self.keep(below.told, event)
            found[sys.intern(key)] = self.value(following(), below, depth)
        if type(event) is not yaml.MappingEndEvent:
            raise _StrangeError
        return found

    def sequence(self, shape: Shape, depth: int) -> list[object]:
        found: list[object] = []
        items = shape.items or ANYTHING
        following = self.next
        while type(event := following()) is not yaml.SequenceEndEvent:
            if shape.told:
                self.keep(f"{shape.told}/{len(found)}", event)
            found.append(self.value(event, items, depth))
        return found

    def keep(self, at: str, event: Any) -> None:
        mark = event.start_mark
        self.places[at] = (mark.line + 1, mark.column + 1)


def _scalar(text: str, wanted: frozenset[str]) -> object:
    """Read a plain scalar as `yaml_reader` does."""
    if "boolean" in wanted or not wanted:
        if text == "true":
            return True
        if text == "false":
            return False
    if ("integer" in wanted or not wanted) and INTEGER.match(text):
        return int(text)
    if text in NOTHING:
        if text or not wanted or "null" in wanted:
            return None
        raise _StrangeError
    return sys.intern(text) if len(text) < _SHARED_LENGTH else text
