"""A spec's tree → the YAML a person would have written, with comments above its keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from reconciler.api.wire import Pointer

__all__ = ["MODELINE", "render", "scalar"]

MODELINE: Final = "# yaml-language-server: $schema="

_PLAIN: Final = re.compile(r"[A-Za-z/_](?:[A-Za-z0-9_./@+:-]*[A-Za-z0-9_./@+-])?\Z")
_OTHER_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_BMP: Final = 0xFFFF


def render(
    tree: Mapping[str, object], comments: Mapping[Pointer, str], head: tuple[str, ...]
) -> str:
    """Write a tree, with the lines of `head` above it as they are."""
    lines = [*head, *_mapping(tree, (), 0, comments)]
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """Write a scalar so that it is read as the same."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    text = str(value)
    if isinstance(value, int) or (_PLAIN.match(text) and text.lower() not in _OTHER_WORDS):
        return text
    return '"' + "".join(_character(c) for c in text) + '"'


def _character(character: str) -> str:
    known = _ESCAPES.get(character)
    if known or character.isprintable():
        return known or character
    code = ord(character)
    return f"\\u{code:04X}" if code <= _BMP else f"\\U{code:08X}"


def _comment(at: Pointer, indent: int, comments: Mapping[Pointer, str]) -> list[str]:
    lines = comments.get(at, "").splitlines()
    return [f"{' ' * indent}# {_shown(line)}" for line in lines]


def _shown(line: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in line)


def _mapping(
    tree: Mapping[str, object], at: Pointer, indent: int, comments: Mapping[Pointer, str]
) -> list[str]:
    lines: list[str] = []
    for key, value in tree.items():
        here = (*at, key)
        lines += _comment(here, indent, comments)
        start = f"{' ' * indent}{scalar(key)}:"
        lines += _value(start, value, here, indent, comments)
    return lines


def _value(
    start: str, value: object, at: Pointer, indent: int, comments: Mapping[Pointer, str]
) -> list[str]:
    match value:
        case dict() if value and value.keys() != {"secret"}:
            return [start, *_mapping(value, at, indent + 2, comments)]
        case list() if value:
            items: list[str] = []
            for index, item in enumerate(value):
                items += _item(item, (*at, index), indent + 2, comments)
            return [start, *items]
        case str() if _is_block(value):
            pad = " " * (indent + 2)
            return [f"{start} |-", *(pad + line if line else "" for line in value.split("\n"))]
    return [f"{start} {_flow(value)}"]


def _item(item: object, at: Pointer, indent: int, comments: Mapping[Pointer, str]) -> list[str]:
    lines = _comment(at, indent, comments)
    if isinstance(item, dict) and item:
        first, *rest = _mapping(item, at, indent + 2, comments)
        return [*lines, f"{' ' * indent}- {first.lstrip(' ')}", *rest]
    return [*lines, *_value(f"{' ' * indent}-", item, at, indent, comments)]


def _is_block(text: str) -> bool:
    """Whether a text can stand below its key, line by line, and be read as the same."""
    lines = text.split("\n")
    return (
        len(lines) > 1
        and all(line.isprintable() for line in lines)
        and all(lines[number] for number in (0, -1))
        and not any(line.startswith(" ") for line in (lines[0], lines[-1]))
    )


def _flow(value: object) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{scalar(key)}: {_flow(below)}" for key, below in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return scalar(value)
